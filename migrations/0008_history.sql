-- The instances that have revisions.
create table history_of (
    id       integer primary key,
    service  text not null,
    instance text not null,
    unique (service, instance)
) strict;

-- The revisions of an instance. Times are those of the system clock.
create table history (
    history     integer not null,
    number      integer not null, -- the instance's own
    revision    integer not null, -- of the session that made it
    at          integer not null,
    action      text not null, -- recorded, applied, reverted, …
    actor_kind  text not null, -- session, operator or server
    actor       text not null,
    interface   text not null, -- pipe, grpc, rest or server
    address     text,
    reason      text,
    reverted_to integer,
    changes     text not null, -- a JSON object
    primary key (history, number)
) strict, without rowid;

-- The entries of their configurations. The configuration of revision N has those with since <= N and no until, or one
-- above N.
create table history_entry (
    history integer not null,
    section text not null, -- as in active
    route   integer not null,
    name    text not null,
    since   integer not null,
    until   integer,
    value   text not null,
    primary key (history, section, route, name, since)
) strict, without rowid;

create index history_entry_until on history_entry (history, until) where until is not null;

-- What is active now is the first revision.
insert into history_of (id, service, instance)
    select max(key), service, instance from session where key in (select session from active) group by service, instance;
insert into history
    select history_of.id, 1, session.revision, coalesce(session.last_apply, session.connected_at), 'recorded', 'server',
           'server', 'server', null, null, null,
           '{"routes_added":0,"routes_changed":0,"routes_removed":0,"headers_changed":0,"options_changed":0,'
           || '"health_checks_changed":0,"rate_limits_changed":0,"circuit_breakers_changed":0}'
    from history_of join session on session.key = history_of.id;
insert into history_entry
    select history_of.id, active.section, active.route, active.name, 1, null, active.value
    from history_of join active on active.session = history_of.id;

-- Applies that are taken back unless they are confirmed in time.
create table confirmation (
    session        integer primary key,
    id             text not null,
    number         integer not null, -- the revision that waits
    previous       integer not null, -- the revision to restore; 0: the empty configuration
    until          integer not null,
    guard_requests integer, -- before the apply, on the routes that it touched; null: no guard
    guard_failures integer
) strict;
