"""The embedded renderer: scenes drawn with OpenGL (EGL, no screen and no GPU needed) by AlpaSim's protocol.

`renderer.SceneRenderer` draws in this process, `server.serve` answers AlpaSim's SensorsimService, and
`process.RendererProcess` runs `alpamayo sim-renderer` as a child.
"""
