//! Hints that something changed in the runtime.
//!
//! Promise: subscribes to the CRI's `GetContainerEvents` where the server has it (containerd 1.7, CRI-O), else to
//! containerd's own events service on the same socket (1.6), and yields one hint an event. Events are hints only:
//! their content is not believed (upstream's evented PLEG made duplicate containers that way, k/k#121003).

use futures::StreamExt;
use futures::stream::BoxStream;

use super::messages::{ContainerEvent, Empty, Envelope, SubscribeRequest};
use super::{Cri, CriError};
use crate::runtime::Hint;

/// Events of containerd that a pod's state may depend on.
const TOPICS: [&str; 3] = [r#"topic=="/tasks/exit""#, r#"topic=="/tasks/start""#, r#"topic=="/tasks/oom""#];

/// Opens whichever event stream the server has.
pub(super) async fn subscribe(cri: &Cri) -> Result<BoxStream<'static, Hint>, CriError> {
    match cri_events(cri).await {
        Err(error) if error.is_unimplemented() => containerd_events(cri).await,
        other => other,
    }
}

async fn cri_events(cri: &Cri) -> Result<BoxStream<'static, Hint>, CriError> {
    let path = "/runtime.v1.RuntimeService/GetContainerEvents";
    let stream = cri.server_stream::<_, ContainerEvent>("GetContainerEvents", path, Empty {}).await?;
    Ok(stream.take_while(|event| std::future::ready(event.is_ok())).map(|_| Hint::Something).boxed())
}

async fn containerd_events(cri: &Cri) -> Result<BoxStream<'static, Hint>, CriError> {
    let path = "/containerd.services.events.v1.Events/Subscribe";
    let filters = TOPICS.map(str::to_owned).to_vec();
    let stream = cri.server_stream::<_, Envelope>("Subscribe", path, SubscribeRequest { filters }).await?;
    let events = stream.take_while(|event| std::future::ready(event.is_ok()));
    Ok(events.map(|_| Hint::Something).boxed())
}
