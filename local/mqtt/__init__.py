"""MQTT 3.1.1 for devices: as much of it as DPS speaks, and no broker.

`packets` and `codec` are the wire format, `session` is what DPS makes of one device's packets, `server`
the connections. `behaviour` holds every choice on what no public source establishes.
"""

from local.mqtt.behaviour import MqttBehaviour
from local.mqtt.faulted import met_by
from local.mqtt.server import device_api, serve_mqtt

__all__ = ["MqttBehaviour", "device_api", "met_by", "serve_mqtt"]
