"""A drive that never happened: a road, four cameras and odometry, drawn and written as a bag."""
