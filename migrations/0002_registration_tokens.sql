-- The name of the registration token that a session came with; null where none was asked for.
alter table session add column token text;
