"""Many sends of the same bytes, handed to the kernel by one system call: io_uring, or Linux AIO where it gives none."""
