//! `proxy`: HTTP to a pod, a service or a node through the server.
//!
//! Promise: method, path, query, headers and body arrive as they were sent, without who the client is; answers
//! stream back. Source: kubernetes `pkg/registry/core/{pod,service,node}/rest` (`ResourceLocation`).

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONNECTION, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use super::node::{self, Scheme, exchange, host_port};
use super::{connect, log};
use crate::http::body::Body;
use crate::http::call::Call;
use crate::http::respond::Answer;
use crate::kinds::Kind;
use crate::object;
use crate::server::Server;
use crate::status::{ApiError, ApiResult};
use crate::verbs::{encode, record};

/// Headers that are about one connection only.
const OF_THE_CONNECTION: [HeaderName; 2] = [CONNECTION, TRANSFER_ENCODING];

pub(super) async fn serve(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> ApiResult<Answer> {
    let wanted = Wanted::parse(call.name()).ok_or_else(|| {
        ApiError::bad_request(format!("invalid {} request {:?}", kind.singular, call.name()))
    })?;
    let (scheme, address) = locate(server, call, kind, &wanted)?;
    let rest = if call.path.rest.is_empty() { "/" } else { &call.path.rest };
    let mark = if call.raw_query.is_empty() { "" } else { "?" };
    let uri = format!("{rest}{mark}{}", call.raw_query);
    let upgrade = call.extensions.lock().remove::<OnUpgrade>().filter(|_| call.headers.contains_key(UPGRADE));
    let mut request = Request::builder().method(call.method.clone()).uri(uri);
    if let Some(headers) = request.headers_mut() {
        *headers = connect::passed_on(&call.headers);
        if upgrade.is_none() {
            OF_THE_CONNECTION.iter().for_each(|name| {
                headers.remove(name);
            });
        }
        headers.insert(HOST, address.as_str().try_into().map_err(ApiError::internal)?);
    }
    let request = request.body(Full::new(call.body.clone())).map_err(ApiError::internal)?;
    let mut answer = exchange(server, &address, scheme, request).await?;
    if let Some(ours) = upgrade.filter(|_| answer.status() == StatusCode::SWITCHING_PROTOCOLS) {
        return Ok(connect::join(server, ours, &mut answer));
    }
    let (mut head, body) = answer.into_parts();
    for name in &OF_THE_CONNECTION {
        head.headers.remove(name);
    }
    Ok(Response::from_parts(head, Body::stream(log::chunks(body))))
}

/// `[https:]name[:port]`, as the path names what is proxied to.
#[derive(Debug, PartialEq)]
struct Wanted<'a> {
    scheme: Option<Scheme>,
    name: &'a str,
    port: &'a str,
}

impl<'a> Wanted<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let scheme = match scheme {
            "" => None,
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => return None,
        };
        (!name.is_empty()).then_some(Self { scheme, name, port })
    }
}

fn locate(server: &Server, call: &Call, kind: &Kind, wanted: &Wanted<'_>) -> ApiResult<(Scheme, String)> {
    let number = || -> ApiResult<Option<u16>> {
        if wanted.port.is_empty() {
            return Ok(None);
        }
        let port =
            wanted.port.parse().map_err(|_| ApiError::bad_request(format!("invalid port {:?}", wanted.port)));
        port.map(Some)
    };
    match &*kind.plural {
        // A node is its agent, unless another port is named.
        "nodes" => {
            let port = number()?;
            let own = if port.is_some() { Scheme::Http } else { Scheme::Https };
            let scheme = wanted.scheme.unwrap_or(own);
            Ok((scheme, node::address(server, wanted.name, port)?))
        }
        "pods" => {
            let pod = encode::decoded(&record(server, kind, call.namespace(), wanted.name)?.bytes)?;
            let ip = object::str_at(&pod, &["status", "podIP"]);
            if ip.is_empty() {
                return Err(ApiError::unavailable(format!("pod {:?} has no address yet", wanted.name)));
            }
            allowed(ip)?;
            let port = number()?.or_else(|| first_port(&pod)).unwrap_or(80);
            Ok((wanted.scheme.unwrap_or(Scheme::Http), host_port(ip, port)))
        }
        _ => {
            record(server, kind, call.namespace(), wanted.name)?;
            let address = endpoint(server, call.namespace(), wanted)?;
            Ok((wanted.scheme.unwrap_or(Scheme::Http), address))
        }
    }
}

/// Whoever may write a pod's status must not reach this machine or its neighbours by it (`IsProxyableIP`).
fn allowed(ip: &str) -> ApiResult<()> {
    let global = match ip.parse() {
        Ok(IpAddr::V4(ip)) => {
            !(ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_unspecified())
        }
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified())
        }
        Err(_) => false,
    };
    if global { Ok(()) } else { Err(ApiError::bad_request("address not allowed")) }
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = object::list_at(pod, &["spec", "containers"]).iter();
    let mut ports = containers.flat_map(|container| object::list_at(container, &["ports"]));
    ports.find_map(|port| u16::try_from(object::int_at(port, &["containerPort"])?).ok())
}

/// A ready address behind a service.
fn endpoint(server: &Server, namespace: &str, wanted: &Wanted<'_>) -> ApiResult<String> {
    let none = || {
        let message = format!("no endpoints available for service {:?}", wanted.name);
        ApiError::unavailable(message)
    };
    let slices = server.kinds.kind("discovery.k8s.io", "v1", "EndpointSlice").ok_or_else(none)?;
    let snapshot = server.store.snapshot();
    let prefix = slices.storage_key(namespace, "");
    let mut ready = Vec::new();
    for slice in snapshot.range(&prefix, None) {
        if slice.header.label("kubernetes.io/service-name") != Some(wanted.name) {
            continue;
        }
        let slice = encode::decoded(&slice.bytes)?;
        let ports = object::list_at(&slice, &["ports"]);
        let named = |port: &&Value| {
            let number = object::int_at(port, &["port"]).map(|number| number.to_string());
            wanted.port.is_empty() && ports.len() == 1
                || object::str_at(port, &["name"]) == wanted.port
                || number.as_deref() == Some(wanted.port)
        };
        let port = ports.iter().find(named).and_then(|port| object::int_at(port, &["port"]));
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { continue };
        for endpoint in object::list_at(&slice, &["endpoints"]) {
            let serves = object::at(endpoint, &["conditions", "ready"]).is_none_or(|ready| *ready == true);
            let address = object::list_at(endpoint, &["addresses"]).first().and_then(Value::as_str);
            let address = address.filter(|address| serves && allowed(address).is_ok());
            ready.extend(address.map(|address| host_port(address, port)));
        }
    }
    let chosen = usize::try_from(server.random.below(ready.len() as u64)).unwrap_or(0);
    ready.into_iter().nth(chosen).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_not_reached_through_a_pod() {
        for ip in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "localhost", ""] {
            assert!(allowed(ip).is_err(), "{ip}");
        }
        assert!(allowed("10.0.0.1").is_ok() && allowed("fd00::1").is_ok());
    }

    #[test]
    fn names_carry_scheme_and_port() {
        let wanted = |scheme, name, port| Some(Wanted { scheme, name, port });
        assert_eq!(Wanted::parse("a"), wanted(None, "a", ""));
        assert_eq!(Wanted::parse("a:80"), wanted(None, "a", "80"));
        assert_eq!(Wanted::parse("https:a:"), wanted(Some(Scheme::Https), "a", ""));
        assert_eq!(Wanted::parse("http:a:web"), wanted(Some(Scheme::Http), "a", "web"));
        assert_eq!(Wanted::parse("ftp:a:1"), None);
        assert_eq!(Wanted::parse(":80"), None);
    }
}
