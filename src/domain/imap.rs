//! A mailbox that is read over IMAP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{source::SecretRef, time::Span};

/// Folders of one mailbox at most: each is watched over a connection of its own, and servers allow few.
pub const MOST_FOLDERS: usize = 10;

/// `[sources.<name>.imap]`: where a mailbox is and what is done with what was taken from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImapSpec {
    /// The server's name, which its certificate must have.
    pub host: String,
    /// Its port; default 993 with `tls`, else 143.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected; default `tls`.
    #[serde(default)]
    pub security: ImapSecurity,
    /// Whose mailbox.
    pub username: String,
    /// That user's password.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// An OAuth 2.0 access token instead of a password (XOAUTH2); read again for each connection.
    #[serde(default)]
    pub token: Option<SecretRef>,
    /// The folders that are read; default `["INBOX"]`, at most [`MOST_FOLDERS`].
    #[serde(default = "inbox")]
    pub folders: Vec<String>,
    /// What is done with a mail that was taken; default `seen`.
    #[serde(default)]
    pub after: AfterTaking,
    /// The keyword for `after = "flag"`; default `$PosternTaken`.
    #[serde(default)]
    pub flag: Option<String>,
    /// The folder for `after = "move"`; made when it is not there.
    #[serde(default)]
    pub move_to: Option<String>,
    /// Which mail the first start takes; default `new`.
    #[serde(default)]
    pub start: FirstTaken,
    /// How often a folder is looked at when the server has no IDLE; default 60s.
    #[serde(default = "minute")]
    pub poll: Span,
    /// How long one IDLE lasts before it is issued anew; default 9m. Servers end it after 29 minutes (RFC 2177),
    /// routers forget silent connections sooner.
    #[serde(default = "nine_minutes")]
    pub idle: Span,
}

/// How an IMAP connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImapSecurity {
    /// TLS from the first byte (RFC 8314).
    #[default]
    Tls,
    /// STARTTLS, demanded.
    Starttls,
    /// None; only towards this machine.
    None,
}

/// What is done with a mail after its event was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AfterTaking {
    /// It is marked as read.
    #[default]
    Seen,
    /// It gets a keyword.
    Flag,
    /// It goes to another folder.
    Move,
    /// Nothing.
    Leave,
}

/// Which mail of a folder is taken when the folder was never read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstTaken {
    /// What arrives from then on.
    #[default]
    New,
    /// All that is there, too.
    All,
}

impl ImapSpec {
    /// The port, by the protection where none is named.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            ImapSecurity::Tls => 993,
            ImapSecurity::Starttls | ImapSecurity::None => 143,
        })
    }

    /// The keyword that taken mail gets.
    #[must_use]
    pub fn keyword(&self) -> &str {
        self.flag.as_deref().unwrap_or("$PosternTaken")
    }

    /// What opens the mailbox.
    #[must_use]
    pub fn credential(&self) -> Option<&SecretRef> {
        self.token.as_ref().or(self.password.as_ref())
    }

    /// What is wrong with it, if anything: the key and, behind `; `, the way out.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        const TEXT: &str = "is empty or has control characters; write it as the server knows it";
        let bad = |text: &str| text.is_empty() || text.chars().any(char::is_control);
        let keyword = |c: char| c.is_ascii_graphic() && !"(){%*\"\\]".contains(c);
        Some(match self {
            _ if bad(&self.host) || self.host.contains([' ', '/', ':', '@']) => {
                ("host", "is no name of a server; write for example imap.example.com, the port in `port`")
            }
            _ if self.security == ImapSecurity::None && !is_loopback(&self.host) => {
                ("security", "is none towards another machine; write tls or starttls")
            }
            _ if bad(&self.username) => ("username", TEXT),
            _ if self.password.is_some() == self.token.is_some() => {
                ("password", "and `token` are both there or both missing; write one, such as { env = \"NAME\" }")
            }
            _ if self.folders.is_empty() || self.folders.len() > MOST_FOLDERS => {
                ("folders", "are none or more than 10; name those that are to be read")
            }
            _ if self.folders.iter().any(|folder| bad(folder)) => ("folders", TEXT),
            _ if (1..self.folders.len()).any(|at| self.folders[..at].contains(&self.folders[at])) => {
                ("folders", "name one twice; remove it")
            }
            _ if !self.keyword().chars().all(keyword) || self.keyword().is_empty() => {
                ("flag", "is no keyword; write letters and digits, such as $PosternTaken")
            }
            _ if self.flag.is_some() && self.after != AfterTaking::Flag => {
                ("flag", "means nothing here; write after = \"flag\" or remove it")
            }
            _ if (self.after == AfterTaking::Move) != self.move_to.is_some() => {
                ("move_to", "belongs to after = \"move\" and nothing else; write both or none")
            }
            _ if self.move_to.as_ref().is_some_and(|folder| bad(folder)) => ("move_to", TEXT),
            _ if self.move_to.as_ref().is_some_and(|folder| self.folders.contains(folder)) => {
                ("move_to", "is one of `folders`; what is moved there would be taken again")
            }
            _ if !(1_000..=86_400_000).contains(&self.poll.0) => ("poll", "is out of range; write 1s to 1d"),
            _ if !(100..=28 * 60_000).contains(&self.idle.0) => ("idle", "is out of range; write 100ms to 28m"),
            _ => return None,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn inbox() -> Vec<String> {
    vec!["INBOX".to_owned()]
}

const fn minute() -> Span {
    Span(60_000)
}

const fn nine_minutes() -> Span {
    Span(9 * 60_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ImapSpec;

    #[test]
    fn what_cannot_work_names_its_key() {
        for (change, key) in [
            (json!({}), None),
            (json!({"host": "imaps://mail.example.com"}), Some("host")),
            (json!({"security": "none"}), Some("security")),
            (json!({"security": "none", "host": "127.0.0.1"}), None),
            (json!({"username": "a\r\nb"}), Some("username")),
            (json!({"token": {"env": "T"}}), Some("password")),
            (json!({"password": null}), Some("password")),
            (json!({"folders": []}), Some("folders")),
            (json!({"folders": ["INBOX", "INBOX"]}), Some("folders")),
            (json!({"after": "flag", "flag": "two words"}), Some("flag")),
            (json!({"flag": "Taken"}), Some("flag")),
            (json!({"after": "move"}), Some("move_to")),
            (json!({"move_to": "Done"}), Some("move_to")),
            (json!({"after": "move", "move_to": "INBOX"}), Some("move_to")),
            (json!({"idle": "29m"}), Some("idle")),
            (json!({"poll": "10ms"}), Some("poll")),
        ] {
            let mut spec = json!({"host": "mail.example.com", "username": "a", "password": {"env": "P"}});
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let spec: ImapSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(spec.fault().map(|(key, _)| key), key, "{change}");
        }
    }
}
