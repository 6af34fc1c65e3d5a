-- schema: additive
-- What preparing the layers of agents came to the last time, by the worker's disk that has them. failure says why there
-- is none; output is the end of what the setup said, without secrets.
CREATE TABLE layers (
  agent_id TEXT COLLATE "C" NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  place TEXT COLLATE "C" NOT NULL,
  tenant_id TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  failure TEXT,
  took_ms BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  output TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (agent_id, digest, place)
);
CREATE INDEX layers_by_place ON layers (place);
