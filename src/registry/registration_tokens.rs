//! Registration tokens: they decide who may register and what a session may then claim.
//!
//! Without configured tokens, every registration is allowed, because existing clients send none. A token is known by
//! the SHA-256 fingerprint of its secret. Neither the secret nor the fingerprint is stored, sent or logged.
//!
//! Invariants: an edit that a token does not allow is refused when it is staged, and again when it is applied,
//! because the rules may have changed in between. No token takes over a session that was opened with another one.

use std::fmt::Display;
use std::sync::Arc;

use crate::domain::{
    BackendUrl, Catalog, Config, Edit, Error, Fingerprint, Host, Kind, Metadata, PageUrl, PathPrefix,
    RegistrationToken, Route, Secret, ServiceName, Session, SessionRecord,
};

/// All registration tokens. If there are none, everyone may register everything. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RegistrationTokens(Arc<[RegistrationToken]>);

impl From<Vec<RegistrationToken>> for RegistrationTokens {
    fn from(tokens: Vec<RegistrationToken>) -> Self {
        Self(tokens.into())
    }
}

/// A permitted registration: the metadata to store, and the token.
pub(crate) struct AdmittedRegistration<'a> {
    pub(crate) metadata: Metadata,
    pub(crate) token: Option<&'a RegistrationToken>,
}

impl RegistrationTokens {
    /// Returns true if no token is needed to register.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that the token of a registration allows the service. On the pipe, the token is part of the metadata.
    pub(crate) fn check_registration(
        &self,
        service: &ServiceName,
        metadata: &Metadata,
        field: Option<&Secret>,
    ) -> Result<AdmittedRegistration<'_>, Error> {
        if self.0.is_empty() {
            return Ok(AdmittedRegistration { metadata: metadata.clone(), token: None });
        }
        let (metadata, written) = metadata.without_token()?;
        let secret = field.or(written.as_ref()).ok_or_else(|| {
            denied("this server asks for a registration token; send it as \"token\" in the metadata, or in its field")
        })?;
        let token = self.known(secret).ok_or_else(|| denied("the registration token is not known here"))?;
        token.check_service(service)?;
        Ok(AdmittedRegistration { metadata, token: Some(token) })
    }

    /// Refuses edits that the session's token does not allow. They may have been staged under other rules.
    pub(crate) fn check_edits(&self, session: &Session, edits: &[Edit]) -> Result<(), Error> {
        let mut routes = edits.iter().filter_map(Edit::new_route).peekable();
        if routes.peek().is_none() {
            return Ok(());
        }
        let Some(token) = self.of(&session.record)? else { return Ok(()) };
        if session.edited().routes.len() > session.active.routes.len() {
            token.check_route_room(session, 0)?;
        }
        let refused = |route: &Route, error: Error| error.within(&format!("route {}", route.id));
        routes.try_for_each(|route| token.check_route(route).map_err(|error| refused(route, error)))
    }

    /// Refuses `edits` that lead to a whole configuration which the session's token does not allow.
    pub(crate) fn check_restored(&self, session: &Session, whole: &Config, edits: &[Edit]) -> Result<(), Error> {
        self.check_edits(session, edits)?;
        let more = whole.routes.len().saturating_sub(session.edited().routes.len());
        let token = if more > 0 { self.of(&session.record)? } else { None };
        token.map_or(Ok(()), |token| token.check_route_room(session, more))
    }

    /// Finds a token by its secret, in a time that does not depend on the token.
    fn known(&self, secret: &Secret) -> Option<&RegistrationToken> {
        let shown = Fingerprint::of(secret);
        self.0.iter().fold(None, |found, token| if token.secret.is(&shown) { Some(token) } else { found })
    }

    /// Returns the token whose rules apply to a session; `None` where the server has no tokens, and for sessions
    /// of operators and files.
    pub(crate) fn of(&self, record: &SessionRecord) -> Result<Option<&RegistrationToken>, Error> {
        if self.0.is_empty() || record.owner.is_permanent() {
            return Ok(None);
        }
        let Some(name) = &record.token else {
            return Err(denied(
                "this session registered without a token, and the server asks for one now; register anew",
            ));
        };
        let token = self.0.iter().find(|token| token.name == *name);
        token
            .map(Some)
            .ok_or_else(|| denied(format!("the token {name} is no longer accepted; register anew with another")))
    }
}

impl RegistrationToken {
    fn check_service(&self, service: &ServiceName) -> Result<(), Error> {
        let covers = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => service.as_str().starts_with(beginning),
            None => service.as_str() == pattern,
        };
        if self.services.is_empty() || self.services.iter().any(covers) {
            return Ok(());
        }
        Err(self.refuse("service", "the service", service, &self.services.join(", ")))
    }

    /// Refuses a session if the token has no room for one more. An instance that registers again with its token needs
    /// no room.
    pub(crate) fn check_session_room(&self, catalog: &Catalog, old: Option<&Session>) -> Result<(), Error> {
        let anew = old.is_some_and(|old| old.record.token.as_ref() == Some(&self.name));
        match self.max_sessions {
            Some(most) if !anew && catalog.sessions_under(&self.name) >= most => {
                Err(Error::new(Kind::Limited, format!("token {} allows at most {most} sessions", self.name)))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to replace a session that was opened with another token, whatever that token allows now. A session that
    /// was opened without a token may be replaced if this token allows everything that the session serves.
    pub(crate) fn check_replacement(&self, old: &Session) -> Result<(), Error> {
        let (service, instance) = (&old.record.service, &old.record.instance);
        match &old.record.token {
            Some(name) if *name == self.name => Ok(()),
            None if old.active.routes.values().all(|route| self.check_route(route).is_ok()) => Ok(()),
            Some(_) => Err(denied(format!(
                "the instance {service}/{instance} is registered under another token; it must shut down first, or an \
                 operator evict it"
            ))),
            None => Err(denied(format!(
                "the instance {service}/{instance} serves routes that token {} does not allow; it must shut down first, \
                 or an operator evict it",
                self.name
            ))),
        }
    }

    /// Refuses a route that the token does not allow.
    fn check_route(&self, route: &Route) -> Result<(), Error> {
        self.check_hosts(&route.domains)
            .and_then(|()| self.check_path(&route.path))
            .and_then(|()| self.check_backend(&route.backend))
    }

    /// Refuses domains that the token does not allow.
    pub(crate) fn check_hosts(&self, domains: &[Host]) -> Result<(), Error> {
        let allowed = |host: &&Host| self.domains.iter().any(|rule| covers(rule, host));
        match domains.iter().find(|host| !self.domains.is_empty() && !allowed(host)) {
            None => Ok(()),
            Some(host) => Err(self.refuse("domains", "the domain", host, &listed(&self.domains))),
        }
    }

    /// Refuses a path that the token does not allow.
    pub(crate) fn check_path(&self, path: &PathPrefix) -> Result<(), Error> {
        if self.path_prefixes.is_empty() || self.path_prefixes.iter().any(|prefix| prefix.covers(path.as_str())) {
            return Ok(());
        }
        Err(self.refuse("path", "the path", path, &listed(&self.path_prefixes)))
    }

    /// Refuses a backend that the token does not allow, for a route or for a test.
    pub(crate) fn check_backend(&self, backend: &BackendUrl) -> Result<(), Error> {
        self.within("backend_url", "the backend", backend, backend)
    }

    /// Refuses a maintenance page that the token does not allow.
    pub(crate) fn check_page(&self, page: &PageUrl) -> Result<(), Error> {
        self.within("page_url", "the page", page.origin(), &page.as_str())
    }

    fn within(&self, field: &'static str, what: &str, origin: &BackendUrl, given: &dyn Display) -> Result<(), Error> {
        // An IPv4 address in the form of an IPv6 one is checked as the IPv4 address, because connections go there.
        let address = origin.address().map(|address| address.to_canonical());
        if self.backends.is_empty() || address.is_some_and(|at| self.backends.iter().any(|net| net.contains(&at))) {
            return Ok(());
        }
        Err(self.refuse(field, what, given, &format!("addresses in {}", listed(&self.backends))))
    }

    /// Refuses `more` routes for a session if the token allows fewer.
    pub(crate) fn check_route_room(&self, session: &Session, more: usize) -> Result<(), Error> {
        match self.max_routes {
            Some(most) if session.edited().routes.len() + more > most => {
                Err(Error::new(Kind::Limited, format!("token {} allows at most {most} routes", self.name)))
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, field: &'static str, what: &str, given: &dyn Display, allowed: &str) -> Error {
        denied(format!("token {} does not allow {what} {given}; it allows {allowed}", self.name)).about(field)
    }
}

fn denied(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Denied, message)
}

fn listed<T: Display>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns true if the domain `rule` allows a host. A wildcard allows names and wildcards below its base.
fn covers(rule: &Host, host: &Host) -> bool {
    match (rule, host) {
        (rule, Host::Exact(host)) => rule.covers(host),
        (Host::Any, _) => true,
        (Host::Below(base), Host::Below(host)) => host == base || rule.covers(host),
        (Host::Exact(_), Host::Below(_) | Host::Any) | (Host::Below(_), Host::Any) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{InstanceName, LeaseBound, SessionKey, Time, TokenName};

    fn tokens() -> RegistrationTokens {
        RegistrationTokens::from(vec![RegistrationToken {
            name: TokenName::parse("team-a").unwrap(),
            secret: Fingerprint::of(&Secret::new("s3cret")),
            services: vec!["shop".to_owned(), "pay-*".to_owned()],
            domains: Host::parse_list("shop.example,*.shop.example").unwrap(),
            path_prefixes: vec![PathPrefix::parse("/api").unwrap()],
            backends: vec!["10.0.0.0/8".parse().unwrap()],
            max_routes: Some(2),
            max_sessions: None,
            lease_max: LeaseBound::Any,
        }])
    }

    fn admit<'a>(
        tokens: &'a RegistrationTokens,
        service: &str,
        metadata: &str,
        token: Option<&str>,
    ) -> Result<AdmittedRegistration<'a>, Error> {
        let service = ServiceName::parse(service).unwrap();
        tokens.check_registration(&service, &Metadata::parse(metadata).unwrap(), token.map(Secret::new).as_ref())
    }

    #[test]
    fn a_token_lets_its_services_register_and_is_not_kept() {
        for (service, metadata, token) in
            [("shop", r#"{"token":"s3cret","v":1}"#, None), ("pay-eu", r#"{"v":1}"#, Some("s3cret"))]
        {
            let tokens = tokens();
            let admitted = admit(&tokens, service, metadata, token).unwrap();
            assert_eq!(admitted.metadata.as_str(), r#"{"v":1}"#);
            assert_eq!(admitted.token.unwrap().name.as_str(), "team-a");
        }
        for (service, token) in
            [("shop", None), ("shop", Some("S3cret")), ("till", Some("s3cret")), ("pay", Some("s3cret"))]
        {
            let refused = admit(&tokens(), service, "{}", token).err().unwrap();
            assert_eq!(refused.kind(), Kind::Denied, "{service} {token:?}");
            assert!(!refused.to_string().contains("3cret"));
        }
    }

    #[test]
    fn without_tokens_nothing_changes() {
        let tokens = RegistrationTokens::default();
        let admitted = admit(&tokens, "any", r#"{"token":"mine"}"#, None).unwrap();
        assert!(admitted.metadata.as_str() == r#"{"token":"mine"}"# && admitted.token.is_none());
    }

    #[test]
    fn routes_that_a_token_does_not_allow_are_refused_in_the_words_of_the_rule() {
        let tokens = tokens();
        let token = &tokens.0[0];
        let hosts = |list| token.check_hosts(&Host::parse_list(list).unwrap());
        assert!(hosts("shop.example,a.b.shop.example,*.shop.example,*.eu.shop.example").is_ok());
        for bad in ["*", "other.example", "*.example", "xshop.example", "shop.example,other.example"] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
        assert_eq!(
            hosts("other.example").unwrap_err().to_string(),
            "domains: token team-a does not allow the domain other.example; it allows shop.example, *.shop.example"
        );
        let path = |text| token.check_path(&PathPrefix::parse(text).unwrap()).is_ok();
        assert!(path("/api") && path("/api/v1") && !path("/apix") && !path("/"));
        let backend = |text| token.check_backend(&BackendUrl::parse(text).unwrap()).is_ok();
        assert!(backend("http://10.1.2.3:80") && !backend("http://11.0.0.1") && !backend("http://localhost"));
    }

    #[test]
    fn a_session_is_bound_by_the_token_it_came_with_as_it_is_now() {
        let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
        let mut record = SessionRecord::opened(service, instance, 0, Time(1));
        assert!(tokens().of(&record).is_err() && RegistrationTokens::default().of(&record).unwrap().is_none());
        record.token = Some(TokenName::parse("team-a").unwrap());
        let tokens = tokens();
        let token = tokens.of(&record).unwrap().unwrap();
        let session = Session::new(SessionKey(1), Arc::new(record.clone()));
        assert!(token.check_route_room(&session, 2).is_ok() && token.check_route_room(&session, 3).is_err());
        record.token = Some(TokenName::parse("gone").unwrap());
        assert!(tokens.of(&record).is_err());
    }
}
