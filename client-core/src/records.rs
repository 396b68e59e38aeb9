//! Records this device writes: Genesis with its first epoch, DeviceAdd with its grant; and what it reads from
//! them: epoch secrets (protocol §3, §6.3).
// owner: crypto helper
