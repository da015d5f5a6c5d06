//! Signed posts to other people's servers, by the Standard Webhooks scheme.
//!
//! Invariants: a post has a deadline and follows no redirect; of an answer no more than a few
//! kilobytes are read; a secret is never shown. TLS is rustls, with the certificates that this machine
//! trusts.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use axum::http::{Method, Request, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use sha2::Sha256;

/// The longest answer that is read, in bytes. An answer is a word or two.
const LONGEST_ANSWER: usize = 16 << 10;

/// The shortest secret, in bytes, as the scheme asks.
const SHORTEST_SECRET: usize = 24;

/// The key that posts are signed with.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Secret {
    /// Reads a secret as the scheme writes it, `whsec_` and base64; any other text is the key itself.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let key = match text.strip_prefix("whsec_") {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| "is not base64 after `whsec_`".to_owned())?,
            None => text.as_bytes().to_vec(),
        };
        if key.len() < SHORTEST_SECRET {
            return Err(format!(
                "is a key of {} bytes, and a key has at least {SHORTEST_SECRET}",
                key.len()
            ));
        }
        Ok(Self(key))
    }

    /// The signature of one post: `v1,` and base64.
    pub(crate) fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        // Any length of key will do for HMAC; the other arm cannot be reached.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        mac.update(format!("{id}.{}.", at.as_second()).as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// An address that can be posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(Uri);

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("is not an address: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("does not begin with https:// or http://".to_owned());
        }
        match uri.authority() {
            None => Err("names no host".to_owned()),
            Some(host) if host.as_str().contains('@') => {
                Err("has a user in it; the signature says who we are".to_owned())
            }
            Some(_) => Ok(Self(uri)),
        }
    }
}

impl fmt::Display for Address {
    /// Without the path and the query: with some services they are the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
        write!(
            f,
            "{}://{}",
            part(self.0.scheme_str()),
            part(self.0.authority().map(|host| host.as_str()))
        )
    }
}

/// One post.
#[derive(Debug, Clone)]
pub(crate) struct Post<'a> {
    pub(crate) to: &'a Address,
    pub(crate) secret: &'a Secret,
    /// The same for every try of the same message, so that whoever gets it twice can tell.
    pub(crate) id: &'a str,
    /// When it is sent: receivers refuse what is old.
    pub(crate) at: Timestamp,
    /// JSON.
    pub(crate) body: Bytes,
    pub(crate) within: Duration,
}

/// What the other side said.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// When it wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Answered {
    /// Whether it was taken.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

type TlsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Posts. A clone is the same.
#[derive(Clone)]
pub(crate) struct Webhooks {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made at the first need, because it reads the certificates that this machine trusts; or why there
    /// is none: a machine without any can still post to its own network.
    tls: Arc<OnceLock<Result<TlsClient, String>>>,
}

impl Webhooks {
    /// Nothing is read or sent yet.
    pub(crate) fn new() -> Self {
        Self {
            plain: Client::builder(TokioExecutor::new()).build_http(),
            tls: Arc::default(),
        }
    }

    fn tls(&self) -> Result<&TlsClient, String> {
        let client = self.tls.get_or_init(|| {
            let builder = HttpsConnectorBuilder::new().with_native_roots();
            let builder = builder.map_err(|error| {
                format!("the certificates that this machine trusts cannot be read: {error}")
            })?;
            let connector = builder.https_only().enable_http1().build();
            Ok(Client::builder(TokioExecutor::new()).build(connector))
        });
        client.as_ref().map_err(Clone::clone)
    }

    /// Posts, and waits for the answer.
    ///
    /// # Errors
    /// Why there is no answer, in one line.
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<Answered, String> {
        let signature = post.secret.sign(post.id, post.at, &post.body);
        let request = Request::builder()
            .method(Method::POST)
            .uri(post.to.0.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("dspex/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", post.id)
            .header("webhook-timestamp", post.at.as_second().to_string())
            .header("webhook-signature", signature)
            .body(Full::new(post.body))
            .map_err(|error| format!("the post cannot be written: {error}"))?;
        tokio::time::timeout(post.within, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {:?}", post.within)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answered, String> {
        let asked = if request.uri().scheme_str() == Some("https") {
            self.tls()?.request(request)
        } else {
            self.plain.request(request)
        };
        let answer = asked.await.map_err(|error| in_words(&error))?;
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| format!("its answer {status} cannot be read: {error}"))?;
        Ok(Answered {
            status,
            retry_after,
            body: body.to_bytes(),
        })
    }
}

/// With its causes: the client's own words say only that it failed.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_schemes_own_example() {
        // From the Standard Webhooks specification's reference libraries.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_bad_secret_is_refused_and_never_shown() {
        for text in ["short", "whsec_not base64 at all!", "whsec_AAAA"] {
            let problem = Secret::parse(text).unwrap_err();
            assert!(!problem.contains(text), "{problem}");
        }
        let secret = Secret::parse("a secret that is long enough").unwrap();
        assert!(!format!("{secret:?}").contains("long"));
    }

    #[test]
    fn an_address_is_one_that_can_be_posted_to_and_is_shown_without_its_path() {
        let address = Address::parse("https://hooks.example/T0/secret?x=1").unwrap();
        assert_eq!(address.to_string(), "https://hooks.example");
        for text in ["", "/x", "ftp://x/", "https://user@x/", "hooks.example"] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
