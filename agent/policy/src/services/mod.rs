//! Services: what they are, at which addresses clients reach them, and where a connection to one of these ends.

mod backends;
mod frontends;
mod object;

pub(crate) use backends::has_slices;
pub use backends::{Backend, Through, Within, backends};
pub use frontends::Frontends;
pub use object::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, Node, Service, ServiceForm, ServicePort, TargetPort,
    TrafficPolicy,
};
