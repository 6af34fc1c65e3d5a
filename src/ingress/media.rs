//! Files of text messages that their provider keeps: the request that fetches one, and what it is called. Pure.
//!
//! The URL stands in a request that the provider signed, and is believed no further than that: only over HTTPS, only on
//! hosts of the provider's row and of the operator, and the login goes to the provider's own hosts alone.

use url::{Host, Position, Url};

use crate::{
    crypto::SecretSource,
    domain::{
        event::{AgentEvent, Media},
        fetch::FetchSpec,
        pattern,
    },
    egress::{Policy, Request, answer::AnswerHead, follow::Redirects},
    ingress::{
        Parsed,
        mail::{RawFile, safe_filename, unique_files},
        multipart,
        providers::{self, mail},
        sms,
        stored::{StoredFault, key_of, secret},
    },
};

/// Redirects of one file; Twilio's go to its content network in one step.
const MOST_REDIRECTS: usize = 3;

/// Where a provider keeps the files of messages; `*` in a name stands for any text.
#[derive(Clone, Copy, Debug)]
pub struct MediaHosts {
    /// The hosts that its URLs may name.
    pub hosts: &'static [&'static str],
    /// Those of them that get the source's login.
    pub logins: &'static [&'static str],
}

impl MediaHosts {
    /// For providers that keep nothing.
    pub const NONE: Self = Self { hosts: &[], logins: &[] };
}

/// The request for a file, who chose its URL, and how far it may be redirected.
///
/// # Errors
/// The URL is none that may be asked, or the login is missing.
pub fn request(
    media: &Media,
    provider: &str,
    fetch: &FetchSpec,
    secrets: &dyn SecretSource,
) -> Result<(Policy, Request, Redirects), StoredFault> {
    let known = providers::find(provider).map_or(MediaHosts::NONE, |provider| provider.media);
    let url = Url::parse(&media.url).map_err(|_| refused("its URL cannot be read"))?;
    let host = match url.host() {
        Some(Host::Domain(name)) => name,
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => return Err(refused("its URL names no host")),
    };
    if url.scheme() != "https" || url.port().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("its URL is not plain https on the usual port"));
    }
    let is_any = |patterns: &[&str]| patterns.iter().any(|allowed| pattern::matches(allowed, host));
    let added = fetch.hosts.iter().any(|allowed| pattern::matches(allowed, host));
    if !is_any(known.hosts) && !added {
        let fault = format!("it lies on `{host}`, no host of the provider; `fetch.hosts` allows more");
        return Err(StoredFault::Settings(fault));
    }
    let (policy, target, allow_http) = match &fetch.endpoint {
        None => (Policy::Public, url.to_string(), false),
        Some(endpoint) => {
            let path = &url[Position::BeforePath..Position::AfterQuery];
            (Policy::Trusted, format!("{}{path}", endpoint.trim_end_matches('/')), endpoint.starts_with("http://"))
        }
    };
    let mut request = Request::get(target);
    if let (Some(user), true) = (&fetch.user, is_any(known.logins)) {
        let password = secret(fetch.password.as_ref(), "password", secrets)?;
        let login = [user.as_bytes(), b":", password.expose()].concat();
        request = request.header("authorization", &format!("Basic {}", data_encoding::BASE64.encode(&login)))?;
    }
    Ok((policy, request, Redirects { most: MOST_REDIRECTS, allow_http }))
}

fn refused(why: &str) -> StoredFault {
    StoredFault::Settings(why.to_owned())
}

/// A file as its answer brought it, with a name that is safe and tells its kind: that of the answer, else the URL's,
/// else its place in the message, counted from 0.
#[must_use]
pub fn file(media: &Media, place: usize, head: &AnswerHead, bytes: Vec<u8>) -> RawFile {
    let declared = [Some(&media.content_type), head.content_type.as_ref()];
    let declared = declared.into_iter().flatten().find(|written| !written.trim().is_empty());
    let content_type = mail::media_type(declared.map_or("", String::as_str));
    let named = head.disposition.as_deref().and_then(multipart::filename).filter(|name| !name.trim().is_empty());
    let in_url = || {
        let url = Url::parse(&media.url).ok()?;
        let last = url.path_segments()?.next_back()?.to_owned();
        last.rsplit_once('.').filter(|(stem, ending)| !stem.is_empty() && (2..=4).contains(&ending.len()))?;
        Some(last)
    };
    let by_place = || match ending(&content_type) {
        Some(ending) => format!("media-{}.{ending}", place + 1),
        None => format!("media-{}", place + 1),
    };
    let filename = safe_filename(&named.or_else(in_url).unwrap_or_else(by_place));
    RawFile { filename, content_type, bytes, ..RawFile::default() }
}

/// The usual ending of the kinds that phones send.
fn ending(content_type: &str) -> Option<&'static str> {
    Some(match content_type {
        "image/jpeg" | "image/jpg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/heic" => "heic",
        "image/heif" => "heif",
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/ogg" => "ogg",
        "audio/amr" => "amr",
        "audio/aac" => "aac",
        "audio/mp4" => "m4a",
        "video/mp4" => "mp4",
        "video/3gpp" => "3gp",
        "video/quicktime" => "mov",
        "application/pdf" => "pdf",
        "text/vcard" | "text/x-vcard" => "vcf",
        "text/calendar" => "ics",
        "text/plain" => "txt",
        "text/csv" => "csv",
        _ => return None,
    })
}

/// A file that was fetched, with its place in its message, from 0.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The place.
    pub place: usize,
    /// As `file` called it.
    pub filename: String,
    /// The declared media type.
    pub content_type: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The event of a message with what was fetched of its files; `media` says of the others why they are missing. `None`
/// when the event is no message.
#[must_use]
pub fn message(told: &AgentEvent, mut media: Vec<Media>, fetched: Vec<Placed>) -> Option<Parsed> {
    let places: Vec<usize> = fetched.iter().map(|file| file.place).collect();
    let raw = fetched.into_iter().map(|Placed { filename, content_type, bytes, .. }| RawFile {
        filename,
        content_type,
        bytes,
        ..RawFile::default()
    });
    let files = unique_files(raw.collect());
    for (place, file) in places.into_iter().zip(&files) {
        if let Some(media) = media.get_mut(place) {
            media.file = Some(file.filename.clone());
        }
    }
    let kind = told.kind.strip_suffix(".stored").unwrap_or(&told.kind);
    let mut parsed = sms::with_files(told, kind, key_of(told), media)?;
    parsed.attachments = files.into_iter().map(|file| file.into_attachment(told.received_at)).collect();
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::{file, request};
    use crate::{
        crypto::{Secret, SecretSource},
        domain::{event::Media, fetch::FetchSpec, source::SecretRef},
        egress::{Policy, answer::AnswerHead},
    };

    struct Vault;

    impl SecretSource for Vault {
        fn secret(&self, _: &SecretRef) -> Result<Secret, String> {
            Ok(Secret::new("token"))
        }

        fn named(&self, _: &str) -> Result<Secret, String> {
            Err("there is none".to_owned())
        }
    }

    fn media(url: &str) -> Media {
        Media { url: url.to_owned(), content_type: "image/jpeg".to_owned(), ..Media::default() }
    }

    fn login() -> FetchSpec {
        let password = Some(SecretRef::Env { env: "A".to_owned() });
        FetchSpec { user: Some("AC1".to_owned()), password, ..FetchSpec::default() }
    }

    /// Whether the request carries the login, or why there is none.
    fn asked(provider: &str, url: &str, fetch: &FetchSpec) -> Result<bool, String> {
        let (policy, request, redirects) = request(&media(url), provider, fetch, &Vault).map_err(|f| f.to_string())?;
        assert_eq!((policy, redirects.allow_http), (Policy::Public, false));
        Ok(format!("{request:?}").contains("authorization"))
    }

    #[test]
    fn only_the_providers_own_hosts_get_the_login() {
        let login = login();
        for url in ["https://api.twilio.com/2010-04-01/Media/ME1", "https://api.dublin.ie1.twilio.com/Media/ME1"] {
            assert_eq!(asked("twilio", url, &login), Ok(true), "{url}");
        }
        assert_eq!(asked("twilio", "https://media.twiliocdn.com/x", &login), Ok(false));
        assert_eq!(asked("plivo", "https://media.plivo.com/x", &login), Ok(true));
        assert_eq!(
            asked("telnyx", "https://media.telnyx.com/x.png?X-Amz-Signature=a", &FetchSpec::default()),
            Ok(false)
        );
        assert_eq!(asked("vonage", "https://api-us.nexmo.com/v3/media/1", &FetchSpec::default()), Ok(false));
        let wider = FetchSpec { hosts: vec!["*.example.net".to_owned()], ..login };
        assert_eq!(asked("twilio", "https://files.example.net/x", &wider), Ok(false));
    }

    #[test]
    fn urls_that_lead_elsewhere_are_refused() {
        for url in [
            "https://evil.example/x",
            "https://api.twilio.com.evil.example/x",
            "https://evil.example/api.twilio.com",
            "https://api.twilio.com@evil.example/x",
            "https://u:p@api.twilio.com/x",
            "https://api.twilio.com:8443/x",
            "http://api.twilio.com/x",
            "ftp://api.twilio.com/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "file:///etc/passwd",
            "/x",
        ] {
            assert!(asked("twilio", url, &login()).is_err(), "{url}");
        }
        assert!(asked("github", "https://api.twilio.com/x", &login()).is_err());
    }

    #[test]
    fn a_file_is_called_as_it_is_and_never_a_path() {
        let head =
            |disposition: &str| AnswerHead { disposition: Some(disposition.to_owned()), ..AnswerHead::default() };
        let name = |url: &str, head: &AnswerHead| file(&media(url), 1, head, Vec::new()).filename;
        let none = AnswerHead::default();
        assert_eq!(name("https://a.example/ME1", &none), "media-2.jpg");
        assert_eq!(name("https://a.example/x/cat%20.png?sig=1", &none), "cat%20.png");
        assert_eq!(name("https://a.example/x", &head("inline; filename=\"../../etc/passwd\"")), "passwd");
        assert_eq!(name("https://a.example/x", &head("attachment; filename*=UTF-8''M%C3%A4rz.pdf")), "März.pdf");
        let typed = AnswerHead { content_type: Some("Audio/OGG; codecs=opus".to_owned()), ..AnswerHead::default() };
        let untyped = Media { content_type: String::new(), ..media("https://a.example/x") };
        let found = file(&untyped, 0, &typed, Vec::new());
        assert_eq!((found.filename.as_str(), found.content_type.as_str()), ("media-1.ogg", "audio/ogg"));
    }
}
