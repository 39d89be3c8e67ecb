"""Shows the live graph, or a recording, to Foxglove and to browsers. Knows neither ROS nor torch."""
