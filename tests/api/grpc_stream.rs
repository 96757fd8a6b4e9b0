//! `ModelStreamInfer`: many inferences on one stream.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use nocti_tests::grpc::inference::infer_parameter::ParameterChoice;
use nocti_tests::grpc::inference::{InferParameter, ModelInferRequest, ServerLiveRequest};
use nocti_tests::{TestHost, bundle_with, eventually, fixture_guest};
use serde_json::json;
use tonic::{Code, Request};

use super::grpc::{host, input, request, simple};
use super::{ENDLESS, until};

fn named(id: &str, model: &str) -> ModelInferRequest {
    ModelInferRequest { id: id.into(), ..simple(model) }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_order_of_their_requests_and_errors_are_answers() {
    let host = host().await;
    let mut client = host.grpc().await;
    let requests = (0..100).map(|n: u32| {
        let mut request = named(&n.to_string(), if n % 7 == 3 { "nothing" } else { "simple" });
        if n % 7 == 5 {
            request.raw_input_contents.pop();
        }
        request
    });
    let stream = client.model_stream_infer(futures::stream::iter(requests)).await.expect("it is served").into_inner();
    let answers: Vec<_> = stream.collect().await;
    assert_eq!(answers.len(), 100);
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.expect("the stream goes on");
        let response = answer.infer_response.expect("it says which request it was");
        assert_eq!(response.id, n.to_string());
        match n % 7 {
            3 => assert!(
                answer.error_message.contains("Request for unknown model: 'nothing'"),
                "{}",
                answer.error_message
            ),
            5 => assert!(answer.error_message.contains("raw_input_contents for each of 2"), "{}", answer.error_message),
            _ => {
                assert_eq!((answer.error_message.as_str(), response.raw_output_contents.len()), ("", 2));
                let last = response.parameters["triton_final_response"].parameter_choice.clone();
                assert_eq!(last, Some(ParameterChoice::BoolParam(true)), "no other follows");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_the_stream_of_a_client_that_wants_it_so() {
    let host = host().await;
    let requests = [named("1", "simple"), named("2", "nothing"), named("3", "simple")];
    let mut call = Request::new(futures::stream::iter(requests));
    call.metadata_mut().insert("triton_grpc_error", "true".parse().expect("a value"));
    let mut stream = host.grpc().await.model_stream_infer(call).await.expect("it is served").into_inner();
    assert_eq!(stream.message().await.expect("good").expect("one").infer_response.expect("an answer").id, "1");
    assert_eq!(stream.message().await.expect_err("bad").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_answers_as_it_goes_and_works_on_no_more_than_it_may() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.limits.timeout = Duration::from_secs(600);
    }))
    .await;
    let mode = |mode: &str| {
        let choice = ParameterChoice::StringParam(mode.into());
        let mode = InferParameter { parameter_choice: Some(choice) };
        let forever = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(600_000)) };
        let parameters = HashMap::from([("mode".to_owned(), mode), ("ms".to_owned(), forever)]);
        ModelInferRequest { parameters, ..request("misbehave", vec![], vec![]) }
    };
    let (sender, requests) = mpsc::unbounded();
    let mut client = host.grpc().await;
    sender.unbounded_send(mode("count")).expect("it is open");
    let mut stream = client.model_stream_infer(requests).await.expect("it is served").into_inner();
    let first = stream.message().await.expect("an answer").expect("one");
    assert_eq!(first.error_message, "");
    for _ in 0..100 {
        sender.unbounded_send(mode("sleep")).expect("it is open");
    }
    host.busy("misbehave", 8).await;
    // All of them are in the host by now, had they been let in: what else it is asked for is answered after them.
    client.model_infer(mode("count")).await.expect("there is room for others");
    assert_eq!(host.status("misbehave").await["instances"]["busy"], json!(8));
    drop((stream, sender));
    host.busy("misbehave", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_asked_for_ends_with_it() {
    let host = TestHost::start().await;
    host.deploy_model("slow", "slow.onnx").await.expect(201);
    let endless = request("slow", vec![input("iterations", "INT64", &[1])], vec![ENDLESS.to_le_bytes().to_vec()]);
    let mut client = host.grpc().await;
    let (sender, requests) = mpsc::unbounded();
    for request in [endless.clone(), endless] {
        sender.unbounded_send(request).expect("it is open");
    }
    let stream = client.model_stream_infer(requests).await.expect("it is served").into_inner();
    until(&host, "running", 1).await;
    until(&host, "queued", 1).await;
    // This client cancels a stream when it has let go of both its ends.
    drop((stream, sender));
    until(&host, "running", 0).await;
    let held = async || {
        let metrics = host.get("/metrics").await.text();
        metrics.lines().any(|line| line == "nocti_held_requests 0").then_some(())
    };
    eventually("its places are free", held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_asked_for_all_gets_all_of_it_from_a_host_that_stops() {
    let host = TestHost::start_with(|config| config.drain_timeout = Duration::from_secs(600)).await;
    host.deploy_model("slow", "slow.onnx").await.expect(201);
    let iterations = 100_000_u64.to_le_bytes().to_vec();
    let slow = request("slow", vec![input("iterations", "INT64", &[1])], vec![iterations]);
    // As many as are worked on at once: whether there are more is not looked at before one of them is answered.
    let requests = futures::stream::iter(vec![slow; 8]);
    let mut client = host.grpc().await;
    let stream = client.model_stream_infer(requests).await.expect("it is served").into_inner();
    until(&host, "running", 1).await;
    until(&host, "queued", 7).await;
    // After the stream's end, on the same connection: that is in the host by now.
    client.server_live(ServerLiveRequest {}).await.expect("it lives");
    host.begin_stop();
    let answers: Vec<_> = stream.collect().await;
    assert_eq!(answers.len(), 8);
    for answer in answers {
        assert_eq!(answer.expect("the stream ends well").error_message, "");
    }
    assert!(host.stop().await.0, "nothing was cut off");
}
