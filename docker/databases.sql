CREATE DATABASE mlflow OWNER flashsale;
