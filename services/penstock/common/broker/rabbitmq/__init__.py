"""RabbitMQ adapter, for RabbitMQ 3.10 to 4.x: `RabbitBroker` in `broker.py` implements the broker port.

`connection.py` keeps a connection open, and `channel.py` a channel on it: for `publisher.py` and `consumer.py`.
No other package imports pika.
"""
