-- The lease that a session asked for: a duration such as 24h0m0s, or permanent. Null: the grace period of the server.
alter table session add column lease text;
