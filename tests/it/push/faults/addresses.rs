//! Faults of virtual addresses.

use std::time::Duration;

use copilot::proto::api::GetVipByNameRequest;

use super::*;

/// A resolver of the daemon's virtual addresses.
struct Resolver(VipResolverCopilotClient<Channel>);

impl Resolver {
    async fn connect(push: &Push) -> Self {
        Self(resolver(push.daemon.vip_resolver.unwrap()).await)
    }

    async fn ask(&self, name: &str) -> Result<String, Code> {
        let request = GetVipByNameRequest {
            fqdn: name.to_owned(),
        };
        let answer = self.0.clone().get_vip_by_name(request).await;
        answer
            .map(|answer| answer.into_inner().ip)
            .map_err(|status| status.code())
    }

    /// Asks until the answer is as expected.
    async fn says(&self, name: &str, expected: Result<&str, Code>) {
        let asked = async {
            while self.ask(name).await.as_deref().map_err(|code| *code) != expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .is_ok();
        assert!(
            in_time,
            "{name}: {:?} is not {expected:?}",
            self.ask(name).await
        );
    }
}

#[tokio::test]
async fn f45_f46_f47_a_name_resolves_in_any_case_while_a_route_has_it_and_no_longer() {
    let (foundation, app) = foundation().await;
    let push = Push::start(foundation).await;
    let resolver = Resolver::connect(&push).await;
    assert_eq!(
        resolver.ask("api.apps.internal").await,
        Err(Code::Unavailable),
        "nothing is known yet"
    );
    let mut request = one_route(&app);
    let vip = "127.128.0.9";
    request
        .routes
        .push(internal("r-1", "api.apps.internal", vip));
    request
        .routes
        .push(internal("r-2", "api.apps.internal", vip));
    request
        .routes
        .push(internal("r-3", "assigned.apps.internal", ""));
    push.sync(request).await;
    resolver.says("api.apps.internal", Ok(vip)).await;
    resolver.says("API.apps.Internal.", Ok(vip)).await;
    resolver
        .says("nobody.apps.internal", Err(Code::NotFound))
        .await;
    let assigned = resolver.ask("assigned.apps.internal").await.unwrap();
    assert!(
        assigned.starts_with("127.") && assigned != vip,
        "{assigned}"
    );

    push.cloud_controller.delete_route("r-1").await.unwrap();
    push.cloud_controller
        .upsert_route(internal("r-3", "moved.apps.internal", ""))
        .await
        .unwrap();
    resolver
        .says("assigned.apps.internal", Err(Code::NotFound))
        .await;
    resolver.says("api.apps.internal", Ok(vip)).await;
    assert!(resolver.ask("moved.apps.internal").await.is_ok());
}

#[tokio::test]
async fn f50_a_vip_range_is_used_and_not_required() {
    let (foundation, app) = foundation().await;
    let mut config = config(&foundation);
    config.as_object_mut().unwrap().remove("VIPCIDR");
    let push = Push::start_with(foundation, config).await;
    let resolver = Resolver::connect(&push).await;
    let mut request = one_route(&app);
    request
        .routes
        .push(internal("r-1", "api.apps.internal", "127.128.0.9"));
    request
        .routes
        .push(internal("r-2", "none.apps.internal", ""));
    push.sync(request).await;
    resolver.says("api.apps.internal", Ok("127.128.0.9")).await;
    assert_eq!(
        resolver.ask("none.apps.internal").await,
        Err(Code::NotFound)
    );
}
