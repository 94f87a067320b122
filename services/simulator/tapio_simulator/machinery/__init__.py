"""What controllers and the kubelet are made of: a client, informers, work queues, Events. No knowledge of any kind."""
