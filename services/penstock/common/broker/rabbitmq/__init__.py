"""RabbitMQ adapter of the broker port, for RabbitMQ 3.10 to 4.x. No other package imports pika."""
