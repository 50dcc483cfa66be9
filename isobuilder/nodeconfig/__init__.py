"""What cloud-init and kubeadm are told on machines that start from the ISO."""
