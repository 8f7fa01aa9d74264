//! Server reflection, in both versions that clients speak.

use prost::Message as _;
use prost_types::FileDescriptorProto;

use crate::mcp::harness::{Harness, soon};

const MCP: &str = "istio.mcp.v1alpha1.ResourceSource";
const HEALTH: &str = "grpc.health.v1.Health";

/// The names in the file that declares a service.
fn declared(files: &[Vec<u8>]) -> Vec<String> {
    let file = FileDescriptorProto::decode(&*files[0]).unwrap();
    let services = file.service.iter();
    services
        .map(|service| format!("{}.{}", file.package(), service.name()))
        .collect()
}

/// A test of one version; the two have the same messages in different packages.
macro_rules! describes_its_own_services {
    ($name:ident, $version:ident, $reflection:literal) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };

            let harness = Harness::start().await;
            let channel = harness.channel().await;
            let ask = async |question| {
                let request = tokio_stream::once(ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(question),
                });
                let mut client = ServerReflectionClient::new(channel.clone());
                let answers = soon(client.server_reflection_info(request)).await;
                let answer = soon(answers.unwrap().into_inner().message()).await;
                answer.unwrap().unwrap().message_response.unwrap()
            };

            let MessageResponse::ListServicesResponse(list) =
                ask(MessageRequest::ListServices(String::new())).await
            else {
                panic!("no list")
            };
            let names: Vec<_> = list.service.into_iter().map(|one| one.name).collect();
            assert_eq!(names, [MCP, HEALTH, $reflection]);
            for name in names {
                let question = MessageRequest::FileContainingSymbol(name.clone());
                let MessageResponse::FileDescriptorResponse(files) = ask(question).await else {
                    panic!("no file")
                };
                assert!(declared(&files.file_descriptor_proto).contains(&name));
            }
        }
    };
}

describes_its_own_services!(
    v1_describes_the_services_of_the_listener,
    v1,
    "grpc.reflection.v1.ServerReflection"
);
describes_its_own_services!(
    v1alpha_describes_the_services_of_the_listener,
    v1alpha,
    "grpc.reflection.v1alpha.ServerReflection"
);
