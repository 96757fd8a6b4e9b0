//! A plain wasi:http 0.2 component, as anybody might have written it for any host: nothing here knows Nocti.

use std::io::Write as _;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// How much of an echo is handed over at once.
const CHUNK_BYTES: u64 = 64 * 1024;

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match (request.method(), path) {
            (Method::Get, "" | "/") => text(out, 200, &format!("Hello from WebAssembly! You sent GET {target}\n")),
            (Method::Get, "/env") => match std::env::var("GREETING") {
                Ok(greeting) => text(out, 200, &format!("{greeting}\n")),
                Err(_) => text(out, 404, "GREETING is not set\n"),
            },
            (Method::Post, "/echo") => echo(&request, out),
            (method, _) => {
                text(out, 404, &format!("No {} {path} here; try GET /, GET /env or POST /echo\n", name(&method)));
            }
        }
    }
}

/// Answers with a text.
fn text(out: ResponseOutparam, status: u16, text: &str) {
    let body = start(out, status, b"text/plain; charset=utf-8");
    let mut stream = body.write().expect("the stream of a new body has not been taken");
    // A caller who has gone away is the only reason why this fails, and then nobody is left to be told.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.blocking_flush();
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Answers with the request's own body while it is still coming in: its bytes go from stream to stream within the host.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let kind = request.headers().get("content-type").into_iter().next();
    let incoming = request.consume().expect("nobody else has taken the body of this request");
    let body = start(out, 200, &kind.unwrap_or_else(|| b"application/octet-stream".to_vec()));
    let from = incoming.stream().expect("the stream of a new body has not been taken");
    let to = body.write().expect("the stream of a new body has not been taken");
    // Ends with an error in any case: the request's body is over, or the caller has gone away.
    while to.blocking_splice(&from, CHUNK_BYTES).is_ok() {}
    let _ = to.blocking_flush();
    drop((from, to));
    let _ = OutgoingBody::finish(body, None);
}

/// Sends the head of the answer; its body follows.
fn start(out: ResponseOutparam, status: u16, content_type: &[u8]) -> OutgoingBody {
    let headers = Fields::from_list(&[("content-type".to_owned(), content_type.to_vec())])
        .expect("content-type is a header that answers may have, and its value is ours or a valid request's");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("the statuses above are valid");
    let body = response.body().expect("the body of a new response has not been taken");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}
