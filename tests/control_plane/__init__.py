"""A real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) without Docker, for tests.

`build` finds or builds the binaries, `launcher` runs them. There is no kubelet and no scheduler: Pods stay Pending
until a test writes their status. Nothing of the product depends on this package.
"""
