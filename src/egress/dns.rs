//! Questions to the Domain Name System, as mail's checks ask them (TXT, and for SPF addresses too).

use std::{borrow::Borrow, collections::BTreeMap, hash::Hash, net::SocketAddr, time::Duration};

use mail_auth::{
    DnsError, Error, MessageAuthenticator, ResolverCache, Txt,
    common::parse::TxtRecordParser,
    dmarc::Dmarc,
    hickory_resolver::{
        config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
        proto::op::ResponseCode,
        system_conf::read_system_conf,
    },
    spf::Spf,
};

use crate::egress::EgressError;

/// The longest wait for one answer; a question is asked twice.
const ONE_ANSWER: Duration = Duration::from_millis(1_200);
/// Answers that are remembered, each as long as its owner says.
const REMEMBERED: u64 = 1_024;

/// A resolver with a bounded memory.
pub struct Dns {
    authenticator: MessageAuthenticator,
    known: Known,
}

impl Dns {
    /// The machine's name servers (`/etc/resolv.conf`), or the one that is named.
    ///
    /// # Errors
    /// When the machine names none, or they cannot be used.
    pub fn new(name_server: Option<SocketAddr>) -> Result<Self, EgressError> {
        let failed = |fault: &dyn std::fmt::Display| {
            EgressError::Setup(format!("name servers: {fault}; `egress.name_server` names another one"))
        };
        let config = match name_server {
            None => read_system_conf().map_err(|fault| failed(&fault))?.0,
            Some(address) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                let server = NameServerConfig::new(address.ip(), true, connections.into());
                ResolverConfig::from_parts(None, Vec::new(), vec![server])
            }
        };
        let mut options = ResolverOpts::default();
        options.timeout = ONE_ANSWER;
        options.attempts = 1;
        options.cache_size = REMEMBERED;
        let authenticator = MessageAuthenticator::new(config, options).map_err(|fault| failed(&fault))?;
        Ok(Self { authenticator, known: Known::default() })
    }

    /// A resolver that knows these TXT records, given by full name without a last dot, and asks nobody: other names do
    /// not exist, and a record of the text `!` is one that cannot be looked up now.
    ///
    /// # Errors
    /// When the library cannot be set up.
    pub fn of_records(records: &[(&str, &str)]) -> Result<Self, EgressError> {
        let config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        let authenticator = MessageAuthenticator::new(config, ResolverOpts::default())
            .map_err(|fault| EgressError::Setup(fault.to_string()))?;
        let known = records.iter().map(|(name, text)| (format!("{name}."), record(name, text)));
        Ok(Self { authenticator, known: Known(Some(known.collect())) })
    }

    /// The library's checks, to be asked with [`Dns::known`] as their cache.
    #[must_use]
    pub const fn authenticator(&self) -> &MessageAuthenticator {
        &self.authenticator
    }

    /// Records that are known without asking.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }
}

/// TXT records that are given instead of asked for. Without any, all are asked for.
#[derive(Default)]
pub struct Known(Option<BTreeMap<String, Txt>>);

impl ResolverCache<Box<str>, Txt> for Known {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let records = self.0.as_ref()?;
        // `Q` says no more of itself than that a `Box<str>` can be it.
        let found = records.iter().find(|(known, _)| {
            let known: Box<str> = known.as_str().into();
            known.borrow() == name
        });
        let missing = || Txt::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)));
        Some(found.map_or_else(missing, |(_, record)| record.clone()))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

/// The record as what stands at such a name.
fn record(name: &str, text: &str) -> Txt {
    if text == "!" {
        return Txt::Error(Error::Dns(DnsError::Resolver("no answer".to_owned())));
    }
    let bytes = text.as_bytes();
    if name.starts_with("_dmarc.") {
        return Dmarc::parse(bytes).into();
    }
    if name.contains("._domainkey.") {
        return mail_auth::common::verify::DomainKey::parse(bytes).into();
    }
    Spf::parse(bytes).into()
}
