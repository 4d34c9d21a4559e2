-- Maintenance requests that were accepted and whose outcome is still to be told.
create table pending (
    session integer not null,
    ticket  integer not null,
    exits   integer not null, -- 0: into maintenance; 1: out of it
    page    text, -- what must answer; null: the built-in page, or the backends
    targets text not null, -- ALL, r1, ..., separated by commas
    primary key (session, ticket)
) strict, without rowid;
