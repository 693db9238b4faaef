"""The registry's MLflow server: MLflow's own login and permissions, and the rules that these cannot hold.

Needs the extra ``server`` (``pip install 'hydrapicker[server]'``); nothing else in HydraPicker imports this package.
"""
