//! Services: what they are, at which addresses clients reach them, and where a connection to one of these ends.

mod backends;
mod frontends;
mod leads;
mod object;

pub use backends::{Backend, Through, Within, backends, has_slices};
pub use frontends::{Frontends, Rank, frontends as frontend_addresses};
pub use leads::{Ends, Frontend, Leads, ends};
pub use object::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, Node, Service, ServiceForm, ServicePort, TargetPort,
    TrafficPolicy,
};
