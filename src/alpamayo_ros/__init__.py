"""Alpamayo in ROS 2: run NVIDIA's driving VLA on a car, on a bag, or in simulation."""

from pkgutil import extend_path

# The generated interfaces (alpamayo_ros.msg, alpamayo_ros.srv) may be installed elsewhere than
# this source tree: in site-packages by pip, in install/ by colcon.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
