-- schema: additive
-- The files that a run changed in its work directory, by path, compared with what was there before its first attempt.
CREATE TABLE run_files (
  run_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  path TEXT NOT NULL,
  kind TEXT NOT NULL,
  change TEXT NOT NULL,
  size BIGINT,
  size_before BIGINT,
  sha256 TEXT,
  sha256_before TEXT,
  PRIMARY KEY (run_id, position),
  CONSTRAINT known_kind CHECK (kind IN ('file', 'link', 'other')),
  CONSTRAINT known_change CHECK (change IN ('created', 'modified', 'deleted'))
);

-- Bytes of files that we make or send, once for each tenant. used_at is when somebody last referred to them: what nothing
-- refers to any more goes a day later.
CREATE TABLE blobs (
  tenant_id TEXT COLLATE "C" NOT NULL,
  sha256 TEXT COLLATE "C" NOT NULL,
  bytes BYTEA NOT NULL,
  used_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, sha256)
);

-- Files that a run left for people. left_out says why the bytes of one are not kept.
CREATE TABLE artifacts (
  run_id TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  name TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size BIGINT NOT NULL,
  sha256 TEXT COLLATE "C",
  left_out TEXT,
  PRIMARY KEY (run_id, position),
  CONSTRAINT kept_or_left_out CHECK (sha256 IS NOT NULL OR left_out IS NOT NULL)
);
CREATE INDEX artifacts_of_bytes ON artifacts (tenant_id, sha256) WHERE left_out IS NULL;
