-- Log-ins at the console by an OpenID Connect provider. `digest` is the SHA-256 of the cookie, which is stored nowhere.
-- `groups` are those of the person's groups that the settings gave a role to at the log-in. Role and models are not
-- stored: they follow from the groups by the settings of each request.
CREATE TABLE console_sessions (
    digest VARCHAR PRIMARY KEY,
    issuer VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    email VARCHAR NOT NULL,
    groups VARCHAR[] NOT NULL,
    began TIMESTAMP NOT NULL,
    expires TIMESTAMP NOT NULL
);
