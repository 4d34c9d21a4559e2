//! The account at the directory: created once, kept in a file, opened for each attempt.
//!
//! Invariants: attempts that begin together create one account; an account is only used once it is kept, so that no
//! crash loses its key.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;

use super::directory::DirectoryClient;
use super::error::{OrderError, is_account_unknown, with_fresh_nonces};
use super::folder::{AcmeFolder, StoredAccount};
use super::settings::AcmeSettings;

/// The account of the settings, with one lock for its creation.
#[derive(Debug)]
pub(super) struct AccountKeeper {
    settings: Arc<AcmeSettings>,
    folder: AcmeFolder,
    /// The credentials, as the library writes them.
    credentials: Mutex<Option<serde_json::Value>>,
}

impl AccountKeeper {
    pub(super) fn new(settings: Arc<AcmeSettings>, folder: AcmeFolder) -> Self {
        Self { settings, folder, credentials: Mutex::default() }
    }

    /// Opens the account for the requests of `client`. Creates it if there is none.
    pub(super) async fn open(&self, client: &DirectoryClient) -> Result<Account, OrderError> {
        let credentials = {
            let mut known = self.credentials.lock().await;
            match &*known {
                Some(credentials) => credentials.clone(),
                None => known.insert(self.find_or_create(client).await?).clone(),
            }
        };
        open(client, credentials).await
    }

    /// Opens the account that is kept. Creates and changes none.
    pub(super) async fn open_kept(&self, client: &DirectoryClient) -> Result<Account, OrderError> {
        let absent = || OrderError::Account("its file is absent".to_owned());
        let kept = self.folder.account(&self.settings.directory).ok_or_else(absent)?;
        open(client, kept.credentials).await
    }

    /// Forgets an account that the authority does not know, so that the next attempt creates another one.
    pub(super) async fn forget_if_unknown(&self, error: &OrderError) {
        if matches!(error, OrderError::Directory(error) if is_account_unknown(error)) {
            tracing::warn!(directory = self.settings.directory, "the authority does not know the account any more");
            self.folder.forget_account(&self.settings.directory);
            *self.credentials.lock().await = None;
        }
    }

    async fn find_or_create(&self, client: &DirectoryClient) -> Result<serde_json::Value, OrderError> {
        let AcmeSettings { directory, contact, .. } = &*self.settings;
        let Some(kept) = self.folder.account(directory) else { return self.create(client).await };
        if kept.contact != *contact {
            let account = open(client, kept.credentials.clone()).await?;
            let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
            with_fresh_nonces!(account.update_contacts(&contacts))?;
            self.keep(kept.credentials.clone())?;
        }
        Ok(kept.credentials)
    }

    async fn create(&self, client: &DirectoryClient) -> Result<serde_json::Value, OrderError> {
        let AcmeSettings { directory, contact, external_account, .. } = &*self.settings;
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        // The configuration is refused unless the terms are accepted.
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = external_account.as_ref().map(|own| ExternalAccountKey::new(own.kid.clone(), &own.key));
        let (account, credentials) = with_fresh_nonces!(Account::builder_with_http(Box::new(client.clone())).create(
            &new,
            directory.clone(),
            external.as_ref()
        ))?;
        let credentials = serde_json::to_value(credentials).map_err(Error::from)?;
        self.keep(credentials.clone())?;
        tracing::info!(directory, account = account.id(), "created an account at the certificate authority");
        Ok(credentials)
    }

    fn keep(&self, credentials: serde_json::Value) -> Result<(), OrderError> {
        let account = StoredAccount { contact: self.settings.contact.clone(), credentials };
        Ok(self.folder.keep_account(&self.settings.directory, &account)?)
    }
}

async fn open(client: &DirectoryClient, credentials: serde_json::Value) -> Result<Account, OrderError> {
    let credentials: AccountCredentials = serde_json::from_value(credentials).map_err(|_| {
        OrderError::Account("its file is damaged; remove it, and another account is created".to_owned())
    })?;
    Ok(Account::builder_with_http(Box::new(client.clone())).from_credentials(credentials).await?)
}
