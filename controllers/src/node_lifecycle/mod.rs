mod health;
mod taints;
mod zones;
