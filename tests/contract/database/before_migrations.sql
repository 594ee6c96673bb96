CREATE TABLE schema_version (
    version INTEGER NOT NULL, 
    PRIMARY KEY (version)
);
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
    retry_floor INTEGER NOT NULL, 
    UNIQUE (id), 
    UNIQUE (idempotency_key)
);
CREATE INDEX ix_jobs_upload ON jobs (upload);
CREATE INDEX jobs_by_state ON jobs (state, id);
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
CREATE INDEX images_by_failure ON images (job, failure_number) WHERE failure_number IS NOT NULL;
CREATE UNIQUE INDEX images_by_name ON images (job, name);
CREATE UNIQUE INDEX images_by_stem ON images (job, stem);
CREATE INDEX images_by_state ON images (job, state, id);
CREATE TABLE deletions (
    number INTEGER NOT NULL, 
    PRIMARY KEY (number)
);
CREATE TABLE job_labels (
    "key" VARCHAR NOT NULL, 
    value VARCHAR NOT NULL, 
    job VARCHAR NOT NULL, 
    PRIMARY KEY ("key", value, job), 
    FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX ix_job_labels_job ON job_labels (job);
INSERT INTO schema_version VALUES (1);
INSERT INTO jobs (id, state, "plan", document, labels, created_at, name, priority, weight, on_failure, run, total,
    pending, queued, running, done, failed, cancelled, failures_seen, steps_of_done, steps_of_failed, retry_floor)
VALUES ('job-1', 'running', '[{"op": "encode"}]', '{}', '{"a": "b"}', 1.5, 'old', 0, 1, 'continue', 0, 2,
    1, 0, 0, 1, 0, 0, 0, '[[1, 0, 0.5, 0.5]]', '[[0, 0, 0.0, 0.0]]', 0);
INSERT INTO images (job, id, name, stem, ref, state) VALUES (1, 0, 'a.jpg', 'a', 'uploads/u/0', 'done');
INSERT INTO images (job, id, name, stem, ref, state) VALUES (1, 1, 'b.jpg', 'b', 'uploads/u/1', 'pending');
