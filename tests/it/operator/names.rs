//! Names as an operator has them: pasted, mistyped in the config, or printed by another command.

use copilot::sim::capi::DomainKind;

use super::*;

#[tokio::test]
async fn what_an_operator_pastes_is_asked_about_whatever_stands_around_the_hostname() {
    let mut mesh = Mesh::start().await;
    mesh.foundation.scale(&mut mesh.app, 3);
    let good = ["GOOD: it is served", " with 3 endpoints"];
    says(&mesh.daemon, &["explain", &host("shop")], &good).await;
    for pasted in [
        "https://shop.apps.example.com/",
        "HTTPS://Shop.Apps.Example.com:443/Cart?x=http://a/#b",
        "http://me:secret@shop.apps.example.com./a%20b/../c",
        " SHOP.apps.example.com. ",
    ] {
        let (said, code) = run(&mesh.daemon, &["explain", pasted]).await;
        assert!(
            good.iter().all(|words| said.contains(words)) && code == Some(0),
            "{pasted}: {said}"
        );
        for (command, expected) in [
            ("routes", "shop.apps.example.com"),
            ("changes", "shop.apps.example.com"),
        ] {
            let (said, _) = run(&mesh.daemon, &[command, "--host", pasted]).await;
            assert!(said.contains(expected), "{command} {pasted}: {said}");
        }
    }
    map_to(&mesh, "under_score", Destination::web(&mesh.app.guid));
    let pasted = "https://Under_Score.apps.example.com/";
    let rejected = ["under_score.apps.example.com", "host"];
    says(&mesh.daemon, &["rejected", "--host", pasted], &rejected).await;
}

/// What is missing at Cloud Controller is what a slip in the config is found by.
#[tokio::test]
async fn a_mistyped_domain_of_the_mesh_is_rejected_with_the_one_that_there_is() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let other = "blue.example.org";
    foundation.capi.state().add_domain(other, DomainKind::Http);
    foundation
        .capi
        .state()
        .add_domain("tcp.example.org", DomainKind::Tcp);
    let domains = json!(["apps.example.com", "bleu.example.org", "tcp.example.org"]);
    let config = with(eager(foundation.config()), &[("/MeshDomains", domains)]);
    let daemon = Daemon::start(config).await;
    let rejected = [
        "bleu.example.org",
        "missing_domain",
        "it has blue.example.org, which is nearly it",
    ];
    says(&daemon, &["rejected"], &rejected).await;
    let expected = [
        "2 are not served as they are",
        "LOOK AT  MeshDomains (mesh_domains): bleu.example.org: ",
    ];
    daemon.ready().await;
    says(&daemon, &["status"], &expected).await;
    assert_eq!(run(&daemon, &["status"]).await.1, Some(1));
    let expected = [
        "shop.bleu.example.org is of bleu.example.org",
        "it has blue.example.org",
        "correct MeshDomains",
    ];
    concludes(&daemon, "shop.bleu.example.org", &expected).await;
    let tcp = ["is of tcp.example.org, and it is for TCP routes"];
    concludes(&daemon, "shop.tcp.example.org", &tcp).await;
}

/// What one command prints is what the next one is asked with.
#[tokio::test]
async fn a_resource_is_found_by_the_name_that_explain_has_for_it() {
    let mut mesh = Mesh::start().await;
    let mut app = mesh.foundation.push(1);
    let route = mesh.foundation.create_route("shop", "/cart");
    mesh.foundation.map(&route, &app, None);
    // Of both lookups only the first one's are where the requests go.
    let good = ["GOOD: it is served by shop.apps.example.com/cart with 1 endpoint,"];
    let url = format!("{}/cart/x", host("shop"));
    says(&mesh.daemon, &["explain", &url], &good).await;
    mesh.foundation.stop(&mut app);
    let said = says(&mesh.daemon, &["explain", &url], &["is stopped"]).await;
    let (_, served) = said.split_once("\nSERVED").unwrap();
    let (served, _) = served.split_once("\n\n").unwrap();
    let names = served
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.collect();
    // That of the stopped app has no endpoint, and is for istiods alone.
    assert_eq!(names.len(), 3, "{said}");
    for name in names
        .into_iter()
        .chain(["virtualservices", "istio/networking/v1alpha3/gateways/"])
    {
        let (said, code) = run(&mesh.daemon, &["resources", name]).await;
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}
