-- One row: the revision of everything in `flags`.
CREATE TABLE flag_revision (
    id       BIGINT  NOT NULL PRIMARY KEY CHECK (id = 1),
    revision BIGINT  NOT NULL CHECK (revision >= 0)
);

INSERT INTO flag_revision (id, revision) VALUES (1, 0);

-- `value` is JSON, to be read as `kind` says.
CREATE TABLE flags (
    key          TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    value        TEXT    NOT NULL,
    revision     BIGINT  NOT NULL,
    hash_version BIGINT  NOT NULL
);

-- Never edited. The primary key makes it impossible that two writers both made the same revision.
CREATE TABLE flag_changes (
    revision     BIGINT  NOT NULL,
    key          TEXT    NOT NULL,
    before_kind  TEXT,
    before_value TEXT,
    after_kind   TEXT    NOT NULL,
    after_value  TEXT    NOT NULL,
    who          TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    at           TEXT    NOT NULL,
    hash_version BIGINT  NOT NULL,
    PRIMARY KEY (revision, key)
);
