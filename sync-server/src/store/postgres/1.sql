-- The tables of the folder's database, for a server that several relays share. Numbers are BIGINT throughout.
CREATE TABLE relay (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    key BYTEA  NOT NULL
);

-- The row is locked by whoever writes to the space: that is what orders its log. `version` changes with every commit, so
-- that another relay knows that what it remembers is over; `last_record` and `last_stream` are the newest numbers below;
-- `xid` is the transaction that wrote last, by which the others find what they have not seen.
CREATE TABLE space (
    no           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           BYTEA  NOT NULL UNIQUE,
    log_id       BYTEA  NOT NULL,
    next_pos     BIGINT NOT NULL,
    roll         BYTEA  NOT NULL,
    bytes        BIGINT NOT NULL,
    record_bytes BIGINT NOT NULL,
    envelopes    BIGINT NOT NULL DEFAULT 0,
    first_pos    BIGINT NOT NULL DEFAULT 1,
    first_roll   BYTEA  NOT NULL DEFAULT '\x00000000000000000000000000000000',
    look_ms      BIGINT,
    version      BIGINT NOT NULL DEFAULT 0,
    last_record  BIGINT NOT NULL DEFAULT 0,
    last_stream  BIGINT NOT NULL DEFAULT 0,
    xid          BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX space_by_look ON space (look_ms) WHERE look_ms IS NOT NULL;
CREATE INDEX space_by_xid ON space (xid);

CREATE TABLE record (
    no    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space BIGINT NOT NULL,
    id    BYTEA  NOT NULL,
    bytes BYTEA  NOT NULL,
    UNIQUE (space, id)
);
CREATE INDEX record_by_no ON record (space, no);

CREATE TABLE stream (
    no        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space     BIGINT NOT NULL,
    id        BYTEA  NOT NULL,
    device    BYTEA  NOT NULL,
    tip_seq   BIGINT NOT NULL,
    tip_id    BYTEA  NOT NULL,
    bytes     BIGINT NOT NULL DEFAULT 0,
    envelopes BIGINT NOT NULL DEFAULT 0,
    floor     BIGINT NOT NULL DEFAULT 0,
    floor_id  BYTEA,
    UNIQUE (space, id)
);
CREATE INDEX stream_by_no ON stream (space, no);

-- key = space number << 40 | position, as in the folder's database.
CREATE TABLE envelope (
    key    BIGINT PRIMARY KEY,
    stream BIGINT NOT NULL,
    seq    BIGINT NOT NULL,
    id     BYTEA  NOT NULL,
    roll   BYTEA  NOT NULL,
    flags  BIGINT NOT NULL,
    bytes  BYTEA  NOT NULL
);
-- What is sealed does not get smaller.
ALTER TABLE envelope ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE run (
    stream BIGINT NOT NULL,
    seq    BIGINT NOT NULL,
    pos    BIGINT NOT NULL,
    count  BIGINT NOT NULL,
    PRIMARY KEY (stream, seq)
);

CREATE TABLE device_space (
    device     BYTEA  NOT NULL,
    space      BIGINT NOT NULL,
    is_gone    BIGINT NOT NULL DEFAULT 0,
    is_invited BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (device, space)
);
CREATE INDEX device_space_by_space ON device_space (space);

CREATE TABLE receipt (
    space  BIGINT NOT NULL,
    device BYTEA  NOT NULL,
    seq    BIGINT NOT NULL,
    bytes  BYTEA  NOT NULL,
    PRIMARY KEY (space, device)
);

CREATE TABLE object (
    no       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space    BIGINT NOT NULL,
    id       BYTEA  NOT NULL,
    kind     BIGINT NOT NULL,
    device   BYTEA  NOT NULL,
    since_ms BIGINT NOT NULL,
    bytes    BYTEA  NOT NULL,
    UNIQUE (space, id)
);
ALTER TABLE object ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX object_by_age ON object (space, kind, since_ms, id);

CREATE TABLE object_use (
    space   BIGINT NOT NULL,
    device  BYTEA  NOT NULL,
    bytes   BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    PRIMARY KEY (space, device)
);

CREATE TABLE checkpoint (
    space         BIGINT NOT NULL,
    id            BYTEA  NOT NULL,
    came_ms       BIGINT NOT NULL,
    since_ms      BIGINT,
    effective_ms  BIGINT,
    is_superseded BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (space, id)
);

CREATE TABLE wakeup (
    space    BIGINT NOT NULL,
    device   BYTEA  NOT NULL,
    url      TEXT   NOT NULL,
    token    TEXT   NOT NULL,
    state    BIGINT NOT NULL,
    failures BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (space, device)
);
CREATE INDEX wakeup_due ON wakeup (space, device) WHERE state = 1;
