//! Answers raw HTTP. This is a plain wasi:http 0.2 component: nothing in it knows Nocti.

use std::io::Write as _;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Handler;

wasip2::http::proxy::export!(Handler);

impl Guest for Handler {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        // The path begins behind the function's name: /functions/NAME/world arrives as /world.
        let path = request.path_with_query().unwrap_or_default();
        let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
        let (status, text) = match path.trim_start_matches('/') {
            "" => (200, format!("{greeting}!\n")),
            "teapot" => (418, "short and stout\n".to_owned()),
            name => (200, format!("{greeting}, {name}!\n")),
        };
        answer(out, status, &text);
    }
}

fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec())])
        .expect("the header is valid");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("the status is valid");
    let body = response.body().expect("the body of a new response has not been taken");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("the stream of a new body has not been taken");
    // Fails only if the caller has gone away, and then nobody is left to be told.
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.blocking_flush();
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}
