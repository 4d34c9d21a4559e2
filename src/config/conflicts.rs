//! Values of a configuration that are right by themselves and do not go together.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::bail;

use super::parts::ServerConfig;

impl ServerConfig {
    /// Checks that all values go together.
    ///
    /// # Errors
    /// The first conflict, with the keys that have it.
    pub(super) fn check_conflicts(&self) -> anyhow::Result<()> {
        self.apart()?;
        self.publishable()
    }

    /// Refuses a dashboard on the proxy that would need no token, or that the proxy could not reach.
    fn publishable(&self) -> anyhow::Result<()> {
        if self.api.publish.is_none() {
            return Ok(());
        }
        if self.operators.is_empty() && self.api.operator_tokens.is_empty() {
            bail!(
                "api.publish: there is no operator token, so everybody who reaches the proxy could use the dashboard; set \
                 [[operators]], api.operator_tokens or api.operator_tokens_file"
            );
        }
        if self.deny.iter().any(|network| network.contains(&IpAddr::from(Ipv4Addr::LOCALHOST))) {
            bail!(
                "api.publish: backends.deny forbids 127.0.0.1, on which the proxy reaches the dashboard; remove that \
                 network or api.publish"
            );
        }
        Ok(())
    }

    /// Refuses two interfaces that listen on the same address.
    fn apart(&self) -> anyhow::Result<()> {
        let mut listeners =
            vec![("pipe.listen", self.pipe.listen), ("api.listen", self.api.listen), ("proxy.http", self.proxy.http)];
        listeners.extend(self.proxy.https.map(|address| ("proxy.https", address)));
        for (at, (key, address)) in listeners.iter().enumerate() {
            let twin = listeners.iter().skip(at + 1).find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = twin {
                bail!("{key} and {other} are both {address}; give each its own port");
            }
        }
        Ok(())
    }
}
