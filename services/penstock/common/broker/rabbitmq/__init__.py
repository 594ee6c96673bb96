"""The broker on RabbitMQ, from 3.10 to 4.x: `RabbitBroker` of `broker.py` implements the port.

`link.py` keeps a connection and `channel.py` what lives on it: `publisher.py` for what goes out, `consumer.py` for what
comes in, `desk.py` for questions about queues. Nothing else in Penstock sees pika.
"""
