"""What may come in and how much at once: checks of requests, bytes of requests and answers."""
