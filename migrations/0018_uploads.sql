-- schema: additive
-- Folders and files that somebody uploaded for agents, and skills. An upload is found by its id or its name; of several
-- of one name the newest counts. listing is JSON: path, size, executable of each file.
CREATE TABLE uploads (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant_id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  files BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  packed BIGINT NOT NULL,
  listing TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT sizes_are_whole CHECK (files > 0 AND bytes >= 0 AND packed > 0)
);
CREATE INDEX uploads_by_name ON uploads (tenant_id, name, id);
CREATE INDEX uploads_by_digest ON uploads (tenant_id, digest);

-- What uploads hold, by what it is: pieces in the order of seq. Pieces that no upload names are of one that was cut off.
CREATE TABLE upload_pieces (
  tenant_id TEXT COLLATE "C" NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,
  bytes BYTEA NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, digest, seq)
);

-- Skills that somebody uploaded, whole, by version from 1; the last one counts. definition is the skill as JSON.
CREATE TABLE skills (
  tenant_id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  description TEXT NOT NULL,
  definition TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, name, version)
);
