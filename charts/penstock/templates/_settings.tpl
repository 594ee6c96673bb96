{{/* Made by scripts/make_chart_docs.py: what is accepted as a setting, besides the schema. */}}
{{- define "penstock.settingRules" -}}
PENSTOCK_ABANDONED_SECS: {"accepted": "a number, more than 0", "exclusiveMinimum": 0}
PENSTOCK_ADVICE_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_API_KEYS: {"entries": "object", "known": ["admin", "expire_after", "hash", "images_per_day", "max_open_images", "max_open_jobs", "max_open_upload_bytes", "max_open_uploads", "max_priority", "max_stored_bytes", "name", "weight"], "required": ["name", "hash"], "patterns": {"name": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", "hash": "^sha256:[0-9a-f]{64}$"}}
PENSTOCK_BROKER_CONNECT_TIMEOUT_SECS: {"accepted": "a number, more than 0, up to 3600", "maximum": 3600, "exclusiveMinimum": 0}
PENSTOCK_BROKER_HEARTBEAT_SECS: {"accepted": "a whole number, 1 to 3600", "minimum": 1, "maximum": 3600}
PENSTOCK_BROKER_MAX_PAUSE_SECS: {"accepted": "a number, more than 0, up to 3600", "maximum": 3600, "exclusiveMinimum": 0}
PENSTOCK_BROKER_TIMEOUT_SECS: {"accepted": "a number, more than 0, up to 3600", "maximum": 3600, "exclusiveMinimum": 0}
PENSTOCK_CANCEL_LOOKUP_SECS: {"accepted": "a number, more than 0", "exclusiveMinimum": 0}
PENSTOCK_CONCURRENCY: {"accepted": "a whole number, 1 to 1024", "minimum": 1, "maximum": 1024}
PENSTOCK_DRAIN_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_IMAGE_TIMEOUT_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_MAX_ATTEMPTS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_CHUNK: {"accepted": "a whole number, 1 to 64", "minimum": 1, "maximum": 64}
PENSTOCK_MAX_CONNECTIONS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_DOWNLOADS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_EVENT_STREAMS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_FIELDS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_FIELD_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_FILES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_FILE_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_IMAGES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_NAME_BYTES: {"accepted": "a whole number, 1 to 255", "minimum": 1, "maximum": 255}
PENSTOCK_MAX_OPEN_JOBS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_OPEN_UPLOADS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_OPEN_UPLOAD_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_OPERATIONS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_PARTS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_PIXELS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_PIXELS_IN_FLIGHT: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_PRESETS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_SERVER_UPLOADS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_SERVER_UPLOAD_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_SESSIONS: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_SIDE: {"accepted": "a whole number, 1 to 32768", "minimum": 1, "maximum": 32768}
PENSTOCK_MAX_STORED_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_UPLOAD_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_WAITING: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_MAX_WAIT_SECS: {"accepted": "a number, more than 0, up to 3600", "maximum": 3600, "exclusiveMinimum": 0}
PENSTOCK_MEMORY_LIMIT_BYTES: {"accepted": "a whole number, 1 or more", "minimum": 1}
PENSTOCK_PORT: {"accepted": "a whole number, 0 to 65535", "minimum": 0, "maximum": 65535}
PENSTOCK_PROGRAM: {"entries": "string", "known": [], "required": [], "patterns": {}}
PENSTOCK_REPAIR_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_RESERVE_BYTES: {"accepted": "a whole number, 0 or more", "minimum": 0}
PENSTOCK_SESSION_SECS: {"accepted": "a number, 60 to 31536000", "minimum": 60, "maximum": 31536000}
PENSTOCK_SOURCES: {"entries": "string", "known": [], "required": [], "patterns": {}}
PENSTOCK_STEP_TIMEOUT_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_STEP_WALL_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_STORE_TIMEOUT_SECS: {"accepted": "a number, more than 0, up to 3600", "maximum": 3600, "exclusiveMinimum": 0}
PENSTOCK_SWEEP_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_TRACE_RATIO: {"accepted": "a number, 0 to 1", "minimum": 0, "maximum": 1}
PENSTOCK_TRUSTED_PROXIES: {"entries": "string", "known": [], "required": [], "patterns": {}}
PENSTOCK_WEBHOOK_ALLOW: {"entries": "string", "known": [], "required": [], "patterns": {}}
PENSTOCK_WEBHOOK_ATTEMPTS: {"accepted": "a whole number, 1 to 50", "minimum": 1, "maximum": 50}
PENSTOCK_WEBHOOK_CONCURRENCY: {"accepted": "a whole number, 1 to 64", "minimum": 1, "maximum": 64}
PENSTOCK_WEBHOOK_CONNECT_SECS: {"accepted": "a number, more than 0, up to 300", "maximum": 300, "exclusiveMinimum": 0}
PENSTOCK_WEBHOOK_FIRST_PAUSE_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_WEBHOOK_LONGEST_PAUSE_SECS: {"accepted": "a number, more than 0, up to 86400", "maximum": 86400, "exclusiveMinimum": 0}
PENSTOCK_WEBHOOK_TIMEOUT_SECS: {"accepted": "a number, more than 0, up to 300", "maximum": 300, "exclusiveMinimum": 0}
PENSTOCK_WINDOW_IMAGES: {"accepted": "a whole number, 1 or more", "minimum": 1}
{{- end }}
