"""Plans as pictures: projected into what cameras see, and from above. Knows neither ROS nor torch."""
