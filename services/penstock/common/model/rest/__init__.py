"""REST models: the server's responses, which the client library reads.

The client ignores fields and accepts states that it does not know, so that a server may be newer. Fields that the
server always sends have a default only where a client can do without them; OpenAPI shows them as required.
"""

from penstock.common.model.rest.base import Problem as Problem
from penstock.common.model.rest.base import RestModel as RestModel
from penstock.common.model.rest.images import Image as Image
from penstock.common.model.rest.images import ImageError as ImageError
from penstock.common.model.rest.images import ImagePage as ImagePage
from penstock.common.model.rest.images import MapTiles as MapTiles
from penstock.common.model.rest.images import PlacedImages as PlacedImages
from penstock.common.model.rest.images import PlaceList as PlaceList
from penstock.common.model.rest.images import Result as Result
from penstock.common.model.rest.images import ResultPage as ResultPage
from penstock.common.model.rest.images import ShownImageState as ShownImageState
from penstock.common.model.rest.images import Timing as Timing
from penstock.common.model.rest.jobs import Counts as Counts
from penstock.common.model.rest.jobs import Delivery as Delivery
from penstock.common.model.rest.jobs import Estimate as Estimate
from penstock.common.model.rest.jobs import FailureGroup as FailureGroup
from penstock.common.model.rest.jobs import Job as Job
from penstock.common.model.rest.jobs import JobForecast as JobForecast
from penstock.common.model.rest.jobs import JobOutput as JobOutput
from penstock.common.model.rest.jobs import JobPage as JobPage
from penstock.common.model.rest.jobs import JobSummary as JobSummary
from penstock.common.model.rest.jobs import Notice as Notice
from penstock.common.model.rest.jobs import NoticeList as NoticeList
from penstock.common.model.rest.jobs import Processed as Processed
from penstock.common.model.rest.jobs import ProcessedJob as ProcessedJob
from penstock.common.model.rest.jobs import Retried as Retried
from penstock.common.model.rest.jobs import RetryRequest as RetryRequest
from penstock.common.model.rest.jobs import ShownJobState as ShownJobState
from penstock.common.model.rest.jobs import ShownNoticeState as ShownNoticeState
from penstock.common.model.rest.jobs import Skipped as Skipped
from penstock.common.model.rest.jobs import SkippedFile as SkippedFile
from penstock.common.model.rest.jobs import StepEstimate as StepEstimate
from penstock.common.model.rest.jobs import StepProgress as StepProgress
from penstock.common.model.rest.jobs import Throughput as Throughput
from penstock.common.model.rest.jobs import WebhookSummary as WebhookSummary
from penstock.common.model.rest.system import Advice as Advice
from penstock.common.model.rest.system import Backlog as Backlog
from penstock.common.model.rest.system import Dependency as Dependency
from penstock.common.model.rest.system import Format as Format
from penstock.common.model.rest.system import FormatList as FormatList
from penstock.common.model.rest.system import Login as Login
from penstock.common.model.rest.system import Operation as Operation
from penstock.common.model.rest.system import OperationList as OperationList
from penstock.common.model.rest.system import Replicas as Replicas
from penstock.common.model.rest.system import Session as Session
from penstock.common.model.rest.system import Signature as Signature
from penstock.common.model.rest.system import SignaturePart as SignaturePart
from penstock.common.model.rest.system import Status as Status
from penstock.common.model.rest.system import Step as Step
from penstock.common.model.rest.system import StepHistory as StepHistory
from penstock.common.model.rest.system import StepLoads as StepLoads
from penstock.common.model.rest.system import System as System
from penstock.common.model.rest.system import Worker as Worker
from penstock.common.model.rest.uploads import Preset as Preset
from penstock.common.model.rest.uploads import PresetList as PresetList
from penstock.common.model.rest.uploads import StoredBytes as StoredBytes
from penstock.common.model.rest.uploads import Upload as Upload
from penstock.common.model.rest.uploads import UploadedFile as UploadedFile
from penstock.common.model.rest.uploads import UploadPage as UploadPage
from penstock.common.model.rest.uploads import Usage as Usage
