"""The Azure side of a deployment, as far as it can be judged without Azure or a bicep compiler."""
