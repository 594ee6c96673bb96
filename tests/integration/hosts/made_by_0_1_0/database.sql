BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE deletions (
	number INTEGER NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE images (
	job INTEGER NOT NULL, 
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	stem TEXT NOT NULL, 
	ref TEXT NOT NULL, 
	state VARCHAR NOT NULL, 
	size BIGINT, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	results TEXT, 
	error TEXT, 
	failure_number INTEGER, 
	timings TEXT, 
	resume_step INTEGER DEFAULT '0' NOT NULL, 
	resume_blob TEXT, 
	resume_parts INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (job, id)
);
INSERT INTO "images" VALUES(1,0,'late.jpg','late','file://{root}/photos/late.jpg','failed',3340,1,NULL,'{"code": "source_not_found", "message": "the file is gone", "step": "resize", "retry": true}',1,NULL,0,NULL,0);
INSERT INTO "images" VALUES(1,1,'photo-0000.jpg','photo-0000','file://{root}/photos/photo-0000.jpg','done',3177,1,'[{"key":"results/01m8j26499smb6v68fh2sz2mc7/photo-0000-0.jpg","name":"photo-0000-0.jpg","size":778,"media_type":"image/jpeg","width":16,"height":12,"sha256":"2a9353aa5911303662f58f617841506f4d210e83a6f50af43a5c747e7485df35"},{"key":"results/01m8j26499smb6v68fh2sz2mc7/photo-0000-1.jpg","name":"photo-0000-1.jpg","size":763,"media_type":"image/jpeg","width":16,"height":12,"sha256":"be827810c2ab25c664a5e9797a0c1de563f2ec73aeb3f0f06d7c209f4ee94704"},{"key":"results/01m8j26499smb6v68fh2sz2mc7/photo-0000-2.jpg","name":"photo-0000-2.jpg","size":755,"media_type":"image/jpeg","width":16,"height":12,"sha256":"58f3911571df9be01984774903db63e8cc573a1b2b00e2b64f6670d9678bb70f"},{"key":"results/01m8j26499smb6v68fh2sz2mc7/photo-0000-3.jpg","name":"photo-0000-3.jpg","size":799,"media_type":"image/jpeg","width":16,"height":12,"sha256":"79daef45e7f0b8e80aa39060c9de704235214a95bc0d6641f6affdb79f2ffd8f"}]',NULL,NULL,'[{"step":0,"wait":1.7198870182037354,"work":0.0005765639999708583},{"step":1,"wait":0.0,"work":0.00002969399997709843},{"step":2,"wait":0.0,"work":0.0002706710000666135},{"step":3,"wait":0.0,"work":0.004010408999988613}]',0,NULL,0);
INSERT INTO "images" VALUES(2,0,'photo-0000.jpg','photo-0000','uploads/01m8j26642af9jqjj63rnqmzbg/0','done',3177,1,'[{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0000-0.png","name":"photo-0000-0.png","size":491,"media_type":"image/png","width":16,"height":12,"sha256":"f3ae669691339b7899c64f4a4950b3f1a530fc6ea4e3ddc753d87fbf77125049"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0000-1.png","name":"photo-0000-1.png","size":440,"media_type":"image/png","width":16,"height":12,"sha256":"1e659b507eef77ffcebf78741f64e2a8d8c644139cca401638fb79d6fc3dae78"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0000-2.png","name":"photo-0000-2.png","size":454,"media_type":"image/png","width":16,"height":12,"sha256":"b15535fbcbf55fbec520e55767b8f7bd1336f963ce9f03dd0da34e0c849519e9"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0000-3.png","name":"photo-0000-3.png","size":503,"media_type":"image/png","width":16,"height":12,"sha256":"44c347215970c7e6827b6dca6671840a61a8c1c6116cb5dcd94f7e9803e22507"}]',NULL,NULL,'[{"step":0,"wait":0.002530813217163086,"work":0.0003178010000510767},{"step":1,"wait":0.0,"work":0.000019117999954687548},{"step":2,"wait":0.0,"work":0.0002941760000112481},{"step":3,"wait":0.0,"work":0.003704035000055228}]',0,NULL,0);
INSERT INTO "images" VALUES(2,1,'photo-0001.jpg','photo-0001','uploads/01m8j26642af9jqjj63rnqmzbg/1','done',3032,1,'[{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0001-0.png","name":"photo-0001-0.png","size":446,"media_type":"image/png","width":16,"height":12,"sha256":"ae7942687caf9ade1ec748eacfbdb1477d328ba1558816753b7425e30b348e8f"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0001-1.png","name":"photo-0001-1.png","size":466,"media_type":"image/png","width":16,"height":12,"sha256":"18ca0e0c012ee6d5e4373458a6d96b19af0b3c4693edf42b52a2300c0bbda372"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0001-2.png","name":"photo-0001-2.png","size":481,"media_type":"image/png","width":16,"height":12,"sha256":"ebbf5bdaeb9ab853a47f63894af9daec9ac487be06c1abde6f47cda7b37d5255"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0001-3.png","name":"photo-0001-3.png","size":486,"media_type":"image/png","width":16,"height":12,"sha256":"e5e738373f22ff08461ab80b965bb03918b0db8957556ab659f0b04237f4f992"}]',NULL,NULL,'[{"step":0,"wait":0.0070378780364990234,"work":0.007144569999923078},{"step":1,"wait":0.0,"work":0.00001970999994682643},{"step":2,"wait":0.0,"work":0.00024558400002661074},{"step":3,"wait":0.0,"work":0.005228311999985635}]',0,NULL,0);
INSERT INTO "images" VALUES(2,2,'photo-0002.jpg','photo-0002','uploads/01m8j26642af9jqjj63rnqmzbg/2','done',3340,1,'[{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0002-0.png","name":"photo-0002-0.png","size":519,"media_type":"image/png","width":16,"height":12,"sha256":"1ae4afd0e65a5da17b247d45ccc4591d71744d45f3715dcd8b3f093fa5d06b82"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0002-1.png","name":"photo-0002-1.png","size":488,"media_type":"image/png","width":16,"height":12,"sha256":"42fee078ec3b220b78a2ddd1a7563e09105a407b8fe9c06a18ccb92098acf7ca"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0002-2.png","name":"photo-0002-2.png","size":501,"media_type":"image/png","width":16,"height":12,"sha256":"ed0f8ff2fe67659538a653e2a449513184f0859f4b87c8e47a4c44b5f10cd0d4"},{"key":"results/01m8j266474k3vnypz9g9pssra/photo-0002-3.png","name":"photo-0002-3.png","size":470,"media_type":"image/png","width":16,"height":12,"sha256":"276fa501b861e960d4ab2df126fb949cbad394873693a59deb9a8b58c010cf71"}]',NULL,NULL,'[{"step":0,"wait":0.02083563804626465,"work":0.002823291000026984},{"step":1,"wait":0.0,"work":0.00002888300002723554},{"step":2,"wait":0.0,"work":0.0008195030000024417},{"step":3,"wait":0.0,"work":0.005279488000041965}]',0,NULL,0);
INSERT INTO "images" VALUES(2,3,'cut.jpg','cut','uploads/01m8j26642af9jqjj63rnqmzbg/3','failed',2977,1,NULL,'{"code": "truncated_image", "message": "the JPEG file ends before its picture does: Premature end of JPEG file", "step": "resize", "retry": false}',1,NULL,0,NULL,0);
INSERT INTO "images" VALUES(3,0,'photo-0001.jpg','photo-0001','uploads/01m8j2668722dr08pd5mr90fpx/0','done',3032,1,'[{"key":"results/01m8j2668awq9jz6srxc912sm1/photo-0001-0.jpg","name":"photo-0001-0.jpg","size":1033,"media_type":"image/jpeg","width":20,"height":30,"sha256":"88dd2be9e18ecd09aca38cd3ad0d8a706d32b09ed07cda577ac5c0dc8034fed6"}]',NULL,NULL,'[{"step":0,"wait":0.0024831295013427734,"work":0.00028693500007648254},{"step":1,"wait":0.0,"work":0.00005803600004128384},{"step":2,"wait":0.0,"work":0.0020543719999750465}]',0,NULL,0);
INSERT INTO "images" VALUES(4,0,'photo-0000.jpg','photo-0000','file://{root}/photos/photo-0000.jpg','running',3177,0,NULL,NULL,NULL,NULL,0,NULL,0);
INSERT INTO "images" VALUES(4,1,'photo-0001.jpg','photo-0001','file://{root}/photos/photo-0001.jpg','running',3032,0,NULL,NULL,NULL,NULL,0,NULL,0);
INSERT INTO "images" VALUES(4,2,'photo-0002.jpg','photo-0002','file://{root}/photos/photo-0002.jpg','queued',3340,0,NULL,NULL,NULL,NULL,0,NULL,0);
INSERT INTO "images" VALUES(4,3,'photo-0003.jpg','photo-0003','file://{root}/photos/photo-0003.jpg','queued',3134,0,NULL,NULL,NULL,NULL,0,NULL,0);
INSERT INTO "images" VALUES(5,0,'photo-0004.jpg','photo-0004','file://{root}/photos/photo-0004.jpg','queued',3145,0,NULL,NULL,NULL,NULL,0,NULL,0);
INSERT INTO "images" VALUES(5,1,'photo-0005.jpg','photo-0005','file://{root}/photos/photo-0005.jpg','queued',3177,0,NULL,NULL,NULL,NULL,0,NULL,0);
CREATE TABLE job_labels (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	job VARCHAR NOT NULL, 
	PRIMARY KEY ("key", value, job), 
	FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_labels" VALUES('city','delft','01m8j266474k3vnypz9g9pssra');
CREATE TABLE jobs (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	"plan" TEXT NOT NULL, 
	document TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	name TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	weight INTEGER NOT NULL, 
	chunk_size INTEGER, 
	on_failure VARCHAR NOT NULL, 
	upload VARCHAR, 
	idempotency_key VARCHAR, 
	fingerprint VARCHAR, 
	run INTEGER NOT NULL, 
	started_at DOUBLE, 
	finished_at DOUBLE, 
	total INTEGER NOT NULL, 
	pending INTEGER NOT NULL, 
	queued INTEGER NOT NULL, 
	running INTEGER NOT NULL, 
	done INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	cancelled INTEGER NOT NULL, 
	failures_seen INTEGER NOT NULL, 
	steps_of_done TEXT NOT NULL, 
	steps_of_failed TEXT NOT NULL, 
	retry_floor INTEGER NOT NULL, arrived_failed TEXT DEFAULT '{}' NOT NULL, owner VARCHAR DEFAULT '' NOT NULL, webhook_url TEXT, webhook_secret TEXT, 
	UNIQUE (id), 
	UNIQUE (idempotency_key)
);
INSERT INTO "jobs" VALUES(1,'01m8j26499smb6v68fh2sz2mc7','partial','[{"op": "resize", "width": 32, "height": 24}, {"op": "split", "enabled": true}, {"op": "blur", "method": "median"}, {"op": "encode", "format": "jpg", "quality": 95, "effort": 2}]','{}','{}',1.79590260765769362451e+09,'',0,1,NULL,'continue',NULL,NULL,NULL,0,1.79590260774037432673e+09,1.79590260950950741762e+09,2,0,0,0,1,1,0,1,'[[1, 0, 1.7198870182037354, 0.0005765639999708583], [1, 0, 0.0, 2.969399997709843e-05], [1, 0, 0.0, 0.0002706710000666135], [1, 0, 0.0, 0.004010408999988613]]','[[0, 1, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]',0,'{}','','http://127.0.0.1:9/hook',NULL);
INSERT INTO "jobs" VALUES(2,'01m8j266474k3vnypz9g9pssra','partial','[{"op": "resize", "width": 32, "height": 24}, {"op": "split", "enabled": true}, {"op": "blur", "method": "median"}, {"op": "encode", "format": "png", "quality": 95, "effort": 2}]','{"output": "png", "name": "sent", "labels": {"city": "delft"}}','{"city": "delft"}',1.79590260954383754729e+09,'sent',0,1,NULL,'continue','01m8j26642af9jqjj63rnqmzbg','once','c6886cbb4f5e8e20532f4bba38e0ec8679c5b9d0804313a204cdc4a6a24f0f8d',0,1.79590260955328965188e+09,1.79590260960042595863e+09,4,0,0,0,3,1,0,1,'[[3, 0, 0.030404329299926758, 0.010285662000001139], [3, 0, 0.0, 6.771099992874952e-05], [3, 0, 0.0, 0.0013592630000403005], [3, 0, 0.0, 0.014211835000082829]]','[[0, 1, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]',0,'{}','',NULL,NULL);
INSERT INTO "jobs" VALUES(3,'01m8j2668awq9jz6srxc912sm1','succeeded','[{"op": "resize", "width": 20, "height": 30}, {"op": "blur", "method": "gaussian"}, {"op": "encode", "format": "jpg", "quality": 95, "effort": 2}]','{"output": "jpg"}','{}',1795902609.67447,'',0,1,NULL,'continue','01m8j2668722dr08pd5mr90fpx',NULL,NULL,0,1.79590260968552064895e+09,1795902609.69469,1,0,0,0,1,0,0,0,'[[1, 0, 0.0024831295013427734, 0.00028693500007648254], [1, 0, 0.0, 5.803600004128384e-05], [1, 0, 0.0, 0.0020543719999750465]]','[[0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]',0,'{}','',NULL,NULL);
INSERT INTO "jobs" VALUES(4,'01m8j266f727e7pkna46zb45j9','running','[{"op": "resize", "width": 32, "height": 24}, {"op": "split", "enabled": true}, {"op": "blur", "method": "median"}, {"op": "encode", "format": "jpg", "quality": 95, "effort": 2}]','{"output": "jpg", "name": "between", "chunk_size": 2}','{}',1.79590260989514780044e+09,'between',0,1,2,'continue',NULL,NULL,NULL,0,1.79590260990701675418e+09,NULL,4,0,2,2,0,0,0,0,'[[0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]','[[0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]',0,'{}','',NULL,NULL);
INSERT INTO "jobs" VALUES(5,'01m8j269ex0egzgbty00ktg382','running','[{"op": "resize", "width": 32, "height": 24}, {"op": "split", "enabled": true}, {"op": "blur", "method": "median"}, {"op": "encode", "format": "jpg", "quality": 95, "effort": 2}]','{"output": "jpg", "name": "queued", "chunk_size": 1}','{}',1.79590261295795297624e+09,'queued',0,1,1,'continue',NULL,NULL,NULL,0,1.79590261297567772868e+09,NULL,2,0,2,0,0,0,0,0,'[[0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]','[[0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0], [0, 0, 0.0, 0.0]]',0,'{}','',NULL,NULL);
CREATE TABLE leader_status (
	id INTEGER NOT NULL, 
	put_at DOUBLE, 
	status TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "leader_status" VALUES(1,NULL,'');
CREATE TABLE leadership (
	id INTEGER NOT NULL, 
	term INTEGER NOT NULL, 
	holder TEXT NOT NULL, 
	since DOUBLE, 
	PRIMARY KEY (id)
);
INSERT INTO "leadership" VALUES(1,0,'',NULL);
CREATE TABLE notices (
	job INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	told TEXT NOT NULL, 
	state VARCHAR NOT NULL, 
	due_at DOUBLE NOT NULL, 
	deliveries TEXT NOT NULL, 
	PRIMARY KEY (job, run)
);
INSERT INTO "notices" VALUES(1,0,'{"state": "partial", "name": "", "labels": {}, "images": {"total": 2, "pending": 0, "queued": 0, "running": 0, "done": 1, "failed": 1, "cancelled": 0}, "finished_at": 1795902609.5095074}','waiting',1.7959026215046389103e+09,'[{"at": 1795902609.7486575, "secs": 0.001, "status": null, "error": "not reached: Connection refused"}, {"at": 1795902612.7631397, "secs": 0.001, "status": null, "error": "not reached: Connection refused"}]');
CREATE TABLE sessions (
	id VARCHAR NOT NULL, 
	key_hash VARCHAR NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE totals (
	outcome VARCHAR NOT NULL, 
	count BIGINT NOT NULL, 
	PRIMARY KEY (outcome)
);
INSERT INTO "totals" VALUES('done',5);
INSERT INTO "totals" VALUES('source_not_found',1);
INSERT INTO "totals" VALUES('truncated_image',1);
CREATE TABLE upload_files (
	upload INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	"key" VARCHAR NOT NULL, 
	size BIGINT NOT NULL, 
	kind VARCHAR, 
	sha256 VARCHAR NOT NULL, 
	PRIMARY KEY (upload, name)
);
INSERT INTO "upload_files" VALUES(1,'photo-0000.jpg','uploads/01m8j266cgqrjg4nyqmr6aad2c/01m8j266cpet5ezrfn4mk2rbf2',3177,'jpeg','1ca86262f313ce060fe38f41972165f7d3e3b0e05ddc3db483fcda5847450c19');
INSERT INTO "upload_files" VALUES(1,'photo-0001.jpg','uploads/01m8j266cgqrjg4nyqmr6aad2c/01m8j266cyzzaevkpcg9g6bq3q',3032,'jpeg','38dcbdbbae374d75700c6924660ec60bee78e90caf8ac197a8ffe427439e1999');
CREATE TABLE uploads (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	changed_at DOUBLE NOT NULL, 
	files INTEGER NOT NULL, 
	pictures INTEGER NOT NULL, 
	size BIGINT NOT NULL, 
	dropped BOOLEAN NOT NULL, owner VARCHAR DEFAULT '' NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "uploads" VALUES(1,'01m8j266cgqrjg4nyqmr6aad2c',1.79590260982334756854e+09,2,2,6209,0,'');
CREATE TABLE usage (
	owner VARCHAR NOT NULL, 
	day INTEGER NOT NULL, 
	images BIGINT NOT NULL, 
	PRIMARY KEY (owner)
);
CREATE INDEX ix_jobs_upload ON jobs (upload);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX ix_job_labels_job ON job_labels (job);
CREATE INDEX images_by_state ON images (job, state, id);
CREATE UNIQUE INDEX images_by_name ON images (job, name);
CREATE UNIQUE INDEX images_by_stem ON images (job, stem);
CREATE INDEX images_by_failure ON images (job, failure_number) WHERE failure_number IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX notices_due ON notices (due_at) WHERE state = 'waiting';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',5);
INSERT INTO "sqlite_sequence" VALUES('uploads',1);
COMMIT;