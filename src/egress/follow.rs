//! Redirects, for the few providers that keep files elsewhere. Each step is a request of its own: its address is checked
//! like the first one's, and what proves who we are goes to the first origin alone.

use std::time::Instant;

use reqwest::header::HeaderMap;
use url::Url;

use crate::egress::{Egress, EgressError, Policy, Request, answer::Answer};

/// How far redirects are followed.
#[derive(Clone, Copy, Debug)]
pub struct Redirects {
    /// How many, at most.
    pub most: usize,
    /// Whether one may lead to plain HTTP: only where the first request is plain as well.
    pub allow_http: bool,
}

impl Egress {
    /// As [`Egress::send`] for a GET, following redirects. Another origin is reached as [`Policy::Public`] and gets no
    /// header of the request. The time of the request holds for all steps together.
    ///
    /// # Errors
    /// When a target is not to be reached, there are too many redirects, or no answer came.
    pub async fn follow(&self, policy: Policy, request: Request, rule: Redirects) -> Result<Answer, EgressError> {
        let (timeout, most_bytes) = request.bounds.unwrap_or((self.timeout, self.max_answer_bytes));
        let began = Instant::now();
        let (mut policy, mut request) = (policy, request);
        for step in 0..=rule.most {
            let left = timeout.saturating_sub(began.elapsed());
            let here = Url::parse(&request.url).map_err(|_| EgressError::Url("the URL cannot be read"))?;
            let answer = self.send(policy, request.clone().within(left, most_bytes)).await?;
            let Some(location) = location(&answer) else { return Ok(answer) };
            if step == rule.most {
                break;
            }
            let next = target(&here, location, rule)?;
            if next.origin() != here.origin() {
                (policy, request.headers) = (Policy::Public, HeaderMap::new());
            }
            request.url = next.into();
        }
        Err(EgressError::Redirect("it redirects too often"))
    }
}

/// Where a redirect leads; `None` when it is none.
fn location(answer: &Answer) -> Option<&str> {
    let location = answer.head.location.as_deref()?;
    matches!(answer.status, 301 | 302 | 303 | 307 | 308).then_some(location)
}

fn target(here: &Url, location: &str, rule: Redirects) -> Result<Url, EgressError> {
    let next = here.join(location).map_err(|_| EgressError::Redirect("it redirects to what is no URL"))?;
    match next.scheme() {
        "https" => {}
        "http" if rule.allow_http => {}
        _ => return Err(EgressError::Redirect("it redirects to something other than https")),
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(EgressError::Redirect("it redirects to a URL with a login in it"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{Redirects, target};

    #[test]
    fn redirects_stay_on_https_and_carry_no_login() {
        let here = Url::parse("https://api.twilio.com/a/b?c=d").unwrap();
        let to = |location: &str, allow_http| {
            target(&here, location, Redirects { most: 3, allow_http }).map(String::from).map_err(|e| e.to_string())
        };
        assert_eq!(to("/x?y=z%2F", false).unwrap(), "https://api.twilio.com/x?y=z%2F");
        assert_eq!(to("//cdn.example/x", false).unwrap(), "https://cdn.example/x");
        assert_eq!(to("http://cdn.example/x", true).unwrap(), "http://cdn.example/x");
        for bad in ["http://cdn.example/x", "ftp://cdn.example/x", "file:///etc/passwd", "https://u:p@cdn.example/"] {
            assert!(to(bad, false).is_err(), "{bad}");
        }
    }
}
