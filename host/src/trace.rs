//! What ties a request to those around it: its id, and the trace that its caller is part of.
//!
//! W3C Trace Context, <https://www.w3.org/TR/trace-context/>. The host takes a trace up, which its log then names, and passes it on
//! to functions that speak HTTP, with itself as the parent. It begins none: who traces nothing pays for nothing. Over gRPC
//! the same headers are metadata. Whatever is done for a request, in its task, can ask for its id. A leaf.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

tokio::task_local! {
    /// The id of the request that is being served.
    static CURRENT: Option<HeaderValue>;
}

/// Work that is done for a request.
type Within<F> = TaskLocalFuture<Option<HeaderValue>, F>;

/// The request for which something is done, if it is done for one.
#[derive(Debug, Clone)]
pub struct Origin(Option<HeaderValue>);

impl Origin {
    /// That of what asks.
    pub fn current() -> Self {
        Self(CURRENT.try_with(Option::clone).ok().flatten())
    }

    /// The request's id.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.0.as_ref().map(|id| String::from_utf8_lossy(id.as_bytes()))
    }

    /// Work that is done for the request, too.
    pub fn around<F: Future>(self, work: F) -> Within<F> {
        CURRENT.scope(self.0, work)
    }
}

/// The id of the request for which this is done, if it is done for one.
pub fn current_id() -> Option<String> {
    Origin::current().id().map(Cow::into_owned)
}

/// Work that goes on in another task, for the same request.
pub fn carried<F: Future>(work: F) -> Within<F> {
    Origin::current().around(work)
}

/// Where a request belongs.
#[derive(Debug, Clone)]
pub struct Context {
    /// The caller's id for it, if it gave a sensible one, or the next number of this process.
    id: HeaderValue,
    trace: Option<Trace>,
}

/// A trace, and the span in it that the host's own work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trace {
    id: u128,
    span: u64,
    flags: u8,
}

impl Context {
    /// What a request says of itself.
    pub fn of(headers: &HeaderMap) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = match headers.get(&REQUEST_ID) {
            Some(given) if !given.is_empty() && given.len() <= 128 => given.clone(),
            _ => HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed)),
        };
        let trace = headers.get(&TRACEPARENT).and_then(|value| Trace::parse(value.to_str().ok()?));
        Self { id, trace: trace.map(Trace::child) }
    }

    /// Work that is done for the request.
    pub fn around<F: Future>(&self, work: F) -> Within<F> {
        CURRENT.scope(Some(self.id.clone()), work)
    }

    /// For an answer.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID.clone(), self.id.clone());
    }

    /// For a request that is handed on. What was no trace is not passed on either.
    pub fn hand_on(&self, headers: &mut HeaderMap) {
        self.mark(headers);
        match self.trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            Some(value) => drop(headers.insert(TRACEPARENT.clone(), value)),
            None => {
                headers.remove(&TRACEPARENT);
                headers.remove(&TRACESTATE);
            }
        }
    }
}

/// As it is logged: the id, and the trace's.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.id)?;
        match self.trace {
            Some(trace) => write!(f, " trace={:032x}", trace.id),
            None => Ok(()),
        }
    }
}

impl Trace {
    /// `version-trace-parent-flags` in lowercase hexadecimal; a later version may have more behind these.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let version = hex(fields.next()?, 2)?;
        let (id, span, flags) = (hex(fields.next()?, 32)?, hex(fields.next()?, 16)?, hex(fields.next()?, 2)?);
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()?);
        let more = fields.next().is_some();
        (version != 0xff && id != 0 && span != 0 && (version > 0 || !more)).then_some(Self { id, span, flags })
    }

    /// Another span of the same trace.
    fn child(self) -> Self {
        Self { span: rand::random_range(1..=u64::MAX), ..self }
    }
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_goes_on_with_another_parent() {
        let trace = Trace::parse(GIVEN).unwrap();
        assert_eq!(trace.to_string(), GIVEN);
        let child = trace.child();
        assert_eq!((child.id, child.flags), (trace.id, trace.flags));
        assert_ne!(child.span, trace.span);
        assert_eq!(
            Trace::parse(&GIVEN.replacen("00", "01", 1).replace("-01", "-01-more")).map(|it| it.id),
            Some(trace.id)
        );
    }

    #[test]
    fn what_is_no_trace_is_not_passed_on() {
        for wrong in [
            "",
            "00",
            &GIVEN.to_uppercase(),
            &format!("{GIVEN}-more"),
            &GIVEN.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(Trace::parse(wrong), None, "{wrong}");
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT.clone(), wrong.parse().unwrap());
            headers.insert(TRACESTATE.clone(), HeaderValue::from_static("a=b"));
            Context::of(&headers).hand_on(&mut headers);
            assert_eq!((headers.get(&TRACEPARENT), headers.get(&TRACESTATE)), (None, None));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Trace::parse(&text);
        }
    }
}
