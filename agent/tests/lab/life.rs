//! Pods, policies and the agent itself come and go.
