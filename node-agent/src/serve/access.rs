//! Who may use the node API.
//!
//! Promise: without a client certificate of the cluster's CA or a token nothing; with one: group `system:masters` and the
//! trusted names everything, others what the API server allows on `nodes/proxy` (upstream's webhook authentication and
//! authorization).

use std::time::Duration;

use component::access::{self, Act, Caller, Rules};
use http::StatusCode;
use kube::Client;

use crate::pods::Node;

/// How long an answer about a right holds. Upstream: five minutes for yes, thirty seconds for no.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);
/// And one about a token.
const TOKEN_FOR: Duration = Duration::from_secs(120);

pub(super) struct Access {
    access: access::Access,
    /// Names of certificates.
    trusted: Vec<String>,
}

impl Access {
    pub(super) fn new(client: Client, trusted: Vec<String>) -> Self {
        let rules = Rules {
            always_allowed: Vec::new(),
            token_holds: TOKEN_FOR,
            yes_holds: ALLOWED_FOR,
            no_holds: DENIED_FOR,
            ..Rules::by(Some(client.clone()), Some(client))
        };
        Self { access: access::Access::new(rules), trusted }
    }

    /// `holder` is the subject of the client certificate.
    pub(super) async fn check(
        &self,
        holder: Option<&Caller>,
        token: Option<&str>,
        verb: &str,
        node: &Node,
    ) -> Result<(), (StatusCode, String)> {
        if holder.is_some_and(|holder| self.trusted.contains(&holder.name)) {
            return Ok(());
        }
        let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        if holder.is_none() && token.is_none() {
            return Err(unauthorized());
        }
        let caller = self.access.caller(holder, token).await.map_err(|_| unauthorized())?;
        let act = Act::Resource {
            verb: verb.to_owned(),
            resource: "nodes",
            subresource: "proxy",
            name: node.name.clone(),
        };
        self.access.authorize(&caller, act).await.map_err(|_| {
            let name = &caller.name;
            let text =
                format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[proxy])\n");
            (StatusCode::FORBIDDEN, text)
        })
    }
}
