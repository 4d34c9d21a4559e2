-- What a Signalbox keeps. Moments are milliseconds since 1970 UTC, lengths end in _ms.
-- Session ids are credentials: whoever reads this file can act for every service.

pragma application_id = 1397178968; -- "SGBX"

create table registry (
    id       integer primary key check (id = 1),
    revision integer not null
) strict;

insert into registry (id, revision) values (1, 0);

create table session (
    key              integer primary key,
    id               text not null unique,
    service          text not null,
    instance         text not null,
    maintenance_port integer not null,
    metadata         text not null, -- a JSON object
    connected_at     integer not null,
    next_route       integer not null, -- above every route id ever given out
    revision         integer not null,
    last_apply       integer,
    drain_started    integer,
    drain_ms         integer,
    maintenance      text not null, -- JSON: {"ALL": {"page": …, "entered": …}, "r1": null}
    topics           text not null, -- separated by commas
    replaced         integer -- set: a later session of the instance took over, routes serve until then
) strict;

-- The configuration that traffic obeys, an entry a row.
create table active (
    session integer not null,
    section text not null, -- routes, headers, options, health, ratelimit, circuit
    route   integer not null, -- 1 for r1; 0 for ALL
    name    text not null, -- of the header or option; else empty
    value   text not null, -- of the header or option; else JSON
    primary key (session, section, route, name)
) strict, without rowid;

-- Edits of it that are not applied yet.
create table staged (
    session integer not null,
    section text not null,
    route   integer not null,
    name    text not null,
    value   text, -- null: the entry is taken away
    primary key (session, section, route, name)
) strict, without rowid;
